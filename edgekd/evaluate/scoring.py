"""Scoring one image under a protocol: which pixels count, what is wrong with the prediction, every alignment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.evaluate.alignment import ALIGNMENTS
from edgekd.evaluate.metrics import clamp, measure, valid
from edgekd.evaluate.placing import place
from edgekd.evaluate.protocols import ScoringProtocol
from targets.input import Framing

__all__ = ["ImageScore", "score_image"]


@dataclass(frozen=True)
class ImageScore:
    """The score of one image. Without a valid pixel, `scores` is empty."""

    name: str
    scene: str
    valid: int  # pixels scored
    covered: float | None  # share of the protocol's valid pixels that the network saw; None where it has none
    errors: int  # scored pixels whose prediction was NaN, infinite, zero or negative; they are clamped, not dropped
    scores: Mapping[str, Mapping[str, float]]  # alignment to metric to figure

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def score_image(
    prediction: NDArray[Any], truth: NDArray[Any], seen: Framing, protocol: ScoringProtocol, *, name: str, scene: str
) -> ImageScore:
    """Score a prediction [H, W] against the truth [height, width] of the whole picture, both in metres.

    The alignments are fitted on pixels whose prediction is finite and positive; then all are clamped to the protocol's
    range, NaN to its lower end. Raises DataError when the protocol's crop does not fit the truth.
    """
    placed, target, covered = place(prediction, truth, seen, protocol)
    wanted = valid(target, protocol.low, protocol.high)
    scored = wanted & covered
    count = int(scored.sum())
    share = count / int(wanted.sum()) if wanted.any() else None
    if count == 0:
        return ImageScore(name, scene, 0, share, 0, {})
    values, t = placed[scored], target[scored]
    good = np.isfinite(values) & (values > 0)
    scores = {}
    for alignment, fit in ALIGNMENTS.items():
        scale, shift = fit(values[good], t[good], protocol.clamp) if good.any() else (1.0, 0.0)
        aligned = values.copy()
        aligned[good] = scale * values[good] + shift
        scores[alignment] = measure(clamp(aligned, *protocol.clamp), t)
    return ImageScore(name, scene, count, share, int((~good).sum()), scores)
