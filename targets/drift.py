"""How far an artefact's depth lies from the fp32 student's on the same pictures: a proxy that needs no labels.

Drift says what building cost, not how accurate the depth is. It is measured raw, because aligning hides the scale error
that int8 causes, and aligned by the median, because the difference of the two isolates that error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError, ModelError

__all__ = ["Drift", "check_depth", "measure_drift", "rank_correlation", "require_reference"]

_NEAREST = 0.01  # metres; below it a ratio says nothing


@dataclass(frozen=True)
class Drift:
    """Mean over pictures of each figure; 0 is best for errors, 1 for shares, ratio and correlation."""

    images: int
    abs_rel: float  # mean |d - r| / r
    abs_rel_aligned: float  # the same after scaling each picture by median(r) / median(d)
    within_5: float  # share of pixels with max(d / r, r / d) < 1.05
    within_1: float  # share of pixels with max(d / r, r / d) < 1.01
    scale_ratio: float  # median(d) / median(r)
    rank_correlation: float  # Spearman's, over the pixels of a picture
    abs_rel_edges: float  # abs_rel over the tenth of the pixels where r changes most

    def to_json(self) -> dict[str, float]:
        """The figures by name, as an artefact keeps them."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, float]) -> Drift:
        """The inverse of `to_json`."""
        figures = {name: float(number) for name, number in value.items() if name != "images"}
        return cls(images=int(value["images"]), **figures)


def measure_drift(depth: NDArray[np.float32], reference: NDArray[np.float32]) -> Drift:
    """Compare depth with the reference's, both [N, H, W] in metres.

    Pixels whose reference is not above a centimetre are left out. Raises DataError when the shapes differ or no pixel
    is left in a picture, ModelError when the depth is not finite.
    """
    if depth.shape != reference.shape or depth.ndim != 3 or depth.size == 0:
        raise DataError(
            f"Drift needs two depths of the same shape [N, H, W], not {list(depth.shape)} and {list(reference.shape)}",
            fix="Infer both on the same pictures",
        )
    check_depth(depth, "the built model")
    require_reference(reference)
    rows = np.array([_one(d.astype(np.float64), r.astype(np.float64)) for d, r in zip(depth, reference, strict=True)])
    abs_rel, aligned, within_5, within_1, scale, rank, edges = rows.mean(axis=0).tolist()
    return Drift(len(rows), abs_rel, aligned, within_5, within_1, scale, rank, edges)


def require_reference(reference: NDArray[np.float32]) -> None:
    """Raise DataError or ModelError where depth [N, H, W] of the fp32 model cannot serve as a reference."""
    check_depth(reference, "the fp32 model")
    blank = np.flatnonzero(~(reference > _NEAREST).any(axis=(1, 2)))
    if len(blank):
        raise DataError(
            f"Picture {blank[0] + 1} of {len(reference)} has no pixel with valid depth in the fp32 model",
            fix="Omit the picture",
        )


def check_depth(depth: NDArray[np.float32], whose: str) -> None:
    """Raise ModelError when depth is not finite or no pixel of it is above zero."""
    if not np.isfinite(depth).all():
        raise ModelError(
            f"The depth of {whose} is not finite (NaN or infinity)",
            fix="Build with --precision fp32, or retrain the model",
        )
    if not (depth > 0).any():
        raise ModelError(f"The depth of {whose} is zero everywhere", fix="Check the model's weights and its export")


def _one(depth: NDArray[np.float64], reference: NDArray[np.float64]) -> tuple[float, ...]:
    steepness = _steepness(reference)
    seen = reference > _NEAREST
    d, r, steepness = depth[seen], reference[seen], steepness[seen]
    scale = float(np.median(d) / np.median(r))
    relative = np.abs(d - r) / r
    aligned = np.abs(d / scale - r) / r if scale > 0 else np.ones_like(r)
    positive = np.maximum(d, _NEAREST)
    ratio = np.maximum(positive / r, r / positive)
    # Of a depth that is nearly flat everywhere, what changes at all; of a flat one, all of it.
    edges = (steepness >= np.quantile(steepness, 0.9)) & ((steepness > 0) | ~steepness.any())
    return (
        float(relative.mean()),
        float(aligned.mean()),
        float((ratio < 1.05).mean()),
        float((ratio < 1.01).mean()),
        scale,
        rank_correlation(d, r),
        float(relative[edges].mean()),
    )


def _steepness(depth: NDArray[np.float64]) -> NDArray[np.float64]:
    down = np.abs(np.diff(depth, axis=0, append=depth[-1:]))
    right = np.abs(np.diff(depth, axis=1, append=depth[:, -1:]))
    return np.maximum(down, right)


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's correlation of two rows of numbers [n]; 1 when neither varies, 0 when only one does."""
    a, b = _ranks(first), _ranks(second)
    a, b = a - a.mean(), b - b.mean()
    norms = float(np.sqrt((a @ a) * (b @ b)))
    if norms == 0:
        return 1.0 if not a.any() and not b.any() else 0.0
    return float(a @ b) / norms


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts + 1) / 2)[inverse]
    return ranks
