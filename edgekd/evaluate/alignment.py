"""Bringing a prediction to the scale of the truth, image by image, to tell errors of scale from errors of shape.

Alignment uses the truth, so an aligned figure is never the accuracy a user gets: raw figures stand beside it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALIGNMENTS"]

Pixels = NDArray[np.float64]
Limits = tuple[float, float]  # metres: the range that a protocol clamps predictions to


def _median(prediction: Pixels, truth: Pixels, limits: Limits) -> tuple[float, float]:
    """Scale by the ratio of the medians (T. Zhou et al., "Unsupervised learning of depth and ego-motion", 2017)."""
    return float(np.median(truth) / np.median(prediction)), 0.0


def _scale_and_shift(prediction: Pixels, truth: Pixels, limits: Limits) -> tuple[float, float]:
    """The least-squares scale and shift, of depth and not of its inverse; a constant prediction becomes the mean.

    Predictions are first scaled to the truth's median and clamped to the limits: otherwise least squares would follow a
    handful of pixels that are far out, and spoil all the others.
    """
    ratio, _ = _median(prediction, truth, limits)
    prediction = np.clip(ratio * prediction, *limits)
    mean, target = prediction.mean(), truth.mean()
    deviation = prediction - mean
    variance = deviation @ deviation
    if variance <= np.finfo(np.float64).eps * prediction.size * mean**2:
        return 0.0, float(target)
    scale = float(deviation @ (truth - target) / variance)
    return scale * ratio, float(target - scale * mean)


ALIGNMENTS = {
    "raw": lambda prediction, truth, limits: (1.0, 0.0),
    "median": _median,
    "scale-shift": _scale_and_shift,
}
"""(scale, shift) fitted on the good pixels of one image. To add an alignment, write a function above and add it."""
