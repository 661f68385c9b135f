"""The accuracy of a model on a data set with depth, under one protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError, ModelError
from calibration.progress import Progress
from calibration.wording import counted
from edgekd.evaluate.alignment import ALIGNMENTS
from edgekd.evaluate.datasets.frame import DepthDataset
from edgekd.evaluate.intervals import bootstrap
from edgekd.evaluate.metrics import METRICS
from edgekd.evaluate.protocols import ScoringProtocol
from edgekd.evaluate.scorable import nothing_scored
from edgekd.evaluate.scoring import ImageScore, score_image
from edgekd.plain import read_fields
from targets.input import InputSpec

__all__ = ["Evaluation", "Predict", "evaluate"]

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Depth in metres [N, H, W] of pictures uint8 [N, H, W, 3] at the network's resolution; `Runner.infer` is one."""

_COVERED = 0.995  # below this mean share of the protocol's pixels, a remark says that the figures are incomplete


@dataclass(frozen=True)
class Evaluation:
    """Figures of one model on one data set under one protocol; `means` and `intervals` by alignment and metric."""

    protocol: str
    about: str  # what the protocol is
    dataset: str
    note: str  # what the data set says about itself: split, assumptions
    digest: str  # of the data set
    images: int  # scored
    skipped: tuple[str, ...]  # names of frames without a valid pixel
    pixels: int  # scored, over all images
    errors: int  # of these, predictions that were NaN, infinite, zero or negative
    covered: float  # mean share of the protocol's pixels that the network saw
    means: Mapping[str, Mapping[str, float]]
    pixel_means: Mapping[str, Mapping[str, float]]  # all pixels have equal weight; in `means`, all images have
    intervals: Mapping[str, Mapping[str, tuple[float, float]]]  # of `means`, 95 %, by bootstrap; empty for one image
    drawn: str  # what the bootstrap drew: scenes or images
    rows: tuple[ImageScore, ...]

    def remarks(self) -> list[str]:
        """What a reader of the figures must know, one line each; none of it is an error."""
        lines = []
        if self.skipped:
            lines.append(
                "1 frame has no valid depth in the network's view and was skipped: " + self.skipped[0]
                if len(self.skipped) == 1
                else f"{len(self.skipped)} frames have no valid depth in the network's view and were skipped, first "
                f"{self.skipped[0]}"
            )
        if self.errors:
            lines.append(
                f"{self.errors} of {counted(self.pixels, 'prediction')} "
                + ("was" if self.errors == 1 else "were")
                + " clamped, being NaN, infinite, zero or negative"
            )
        if self.covered < _COVERED:
            lines.append(
                f"the network saw {self.covered:.1%} of the pixels that {self.protocol} scores; the rest is not in the "
                "figures"
            )
        return lines

    def interval(self, metric: str, alignment: str = "raw") -> tuple[float, float] | None:
        """The 95 % interval of a mean; None where only one image was scored."""
        return self.intervals[alignment].get(metric)

    def difference(self, other: Evaluation, metric: str) -> tuple[float, float] | None:
        """The 95 % interval of the mean of the unaligned `metric` minus that of `other`, over the frames of both.

        Differences are taken frame by frame, so it is far narrower than their own intervals where both find the same
        frames hard. None where they do not share two frames.
        """
        theirs = {(row.scene, row.name): row for row in other.rows if row.valid}
        pairs = [
            (row, theirs[row.scene, row.name]) for row in self.rows if row.valid and (row.scene, row.name) in theirs
        ]
        if not pairs:
            return None
        differences = np.array([[mine.scores["raw"][metric] - its.scores["raw"][metric]] for mine, its in pairs])
        ends, _ = bootstrap(differences, [mine.scene for mine, _ in pairs])
        return None if ends is None else (float(ends[0, 0]), float(ends[0, 1]))

    def to_json(self) -> dict[str, Any]:
        """Plain values, all of them finite."""
        value = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "rows"}
        value["skipped"] = list(self.skipped)
        value["intervals"] = {a: {m: list(ends) for m, ends in by.items()} for a, by in self.intervals.items()}
        return {**value, "rows": [row.to_json() for row in self.rows]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Evaluation:
        """The inverse of `to_json`. Raises DataError when a field or a figure is missing or of the wrong kind."""
        try:
            found = read_fields(cls, value)
            for alignment in ALIGNMENTS:
                if alignment not in found.intervals:
                    raise KeyError(alignment)
                for figures in (found.means, found.pixel_means, *(row.scores for row in found.rows if row.valid)):
                    if missing := METRICS.keys() - figures[alignment].keys():
                        raise KeyError(min(missing))
            return found
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"An evaluation cannot be read ({error!r})", fix="Evaluate again") from error


def evaluate(
    predict: Predict,
    input: InputSpec,  # noqa: A002 - the field's own name
    data: DepthDataset,
    protocol: ScoringProtocol,
    progress: Progress,
) -> Evaluation:
    """Score `predict` on every frame of `data`: each image by itself, then averaged.

    Raises DataError for frames that cannot be read or when none has a valid pixel, ModelError when a prediction does
    not have the network's resolution.
    """
    if data.note:
        progress.note(f"{data.name}: {data.note}")
    rows = []
    with progress.task(f"Evaluating on {data.name} ({protocol.name})", total=len(data)) as advance:
        for index in range(len(data)):
            frame = data[index]
            depth = predict(input.framing.image(frame.rgb)[None])
            if depth.shape != (1, input.height, input.width):
                raise ModelError(
                    f"The model output depth of shape {list(depth.shape)}, not {[1, input.height, input.width]}",
                    fix="Export it again",
                )
            try:
                row = score_image(depth[0], frame.depth, input.framing, protocol, name=frame.name, scene=frame.scene)
            except DataError as error:
                raise DataError(f"{frame.name}: {error.message}", fix=error.fix) from error
            rows.append(row)
            advance(1)
    return _summarise(rows, data, protocol, progress)


def _summarise(rows: list[ImageScore], data: DepthDataset, protocol: ScoringProtocol, progress: Progress) -> Evaluation:
    scored = [row for row in rows if row.valid]
    if not scored:
        raise nothing_scored(data, protocol)
    figures = np.array([[row.scores[a][m] for a in ALIGNMENTS for m in METRICS] for row in scored])
    ends, drawn = bootstrap(figures, [row.scene for row in scored])
    keys = [(alignment, metric) for alignment in ALIGNMENTS for metric in METRICS]
    means: dict[str, dict[str, float]] = {alignment: {} for alignment in ALIGNMENTS}
    intervals: dict[str, dict[str, tuple[float, float]]] = {alignment: {} for alignment in ALIGNMENTS}
    for place, (alignment, metric) in enumerate(keys):
        means[alignment][metric] = float(figures[:, place].mean())
        if ends is not None:
            intervals[alignment][metric] = (float(ends[place, 0]), float(ends[place, 1]))
    counts = np.array([row.valid for row in scored], np.float64)
    pixel_means = {
        alignment: {
            name: metric.pool(np.array([row.scores[alignment][name] for row in scored]), counts)
            for name, metric in METRICS.items()
        }
        for alignment in ALIGNMENTS
    }
    evaluation = Evaluation(
        protocol=protocol.name,
        about=protocol.about,
        dataset=data.name,
        note=data.note,
        digest=data.digest,
        images=len(scored),
        skipped=tuple(row.name for row in rows if not row.valid),
        pixels=sum(row.valid for row in scored),
        errors=sum(row.errors for row in scored),
        covered=float(np.mean([row.covered for row in rows if row.covered is not None])),
        means=means,
        pixel_means=pixel_means,
        intervals=intervals,
        drawn=drawn,
        rows=tuple(rows),
    )
    for remark in evaluation.remarks():
        progress.note(remark)
    return evaluation
