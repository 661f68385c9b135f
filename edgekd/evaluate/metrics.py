"""The metrics of monocular depth: the name of each, its unit, and which way is better.

Definitions follow D. Eigen, C. Puhrsch and R. Fergus, "Depth map prediction from a single image using a multi-scale
deep network" (2014), and the KITTI depth benchmark for SILog. All are taken over the valid pixels of one image, in
float64; a figure for a data set is the mean over its images, and beside it that over all their pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError

__all__ = ["METRICS", "Metric", "clamp", "measure", "score", "valid"]

Pixels = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A metric of depth. `better` says which value is best: the lowest, the highest, or one."""

    label: str
    unit: str  # empty for a share or a ratio
    low: float
    high: float
    better: Literal["lower", "higher", "one"]
    compute: Callable[[Pixels, Pixels], float]  # of prediction and truth, both positive metres [n], n of 1 or more
    squared: bool = False  # a root of a mean of squares: the squares are what averages over images

    def pool(self, figures: Pixels, counts: Pixels) -> float:
        """The figure over the pixels of several images, from each image's figure and number of pixels.

        For SILog and scale, which are defined per image, it is the mean weighted by pixels, for SILog of the squares.
        """
        power = 2 if self.squared else 1
        return float((counts @ figures**power / counts.sum()) ** (1 / power))

    @property
    def heading(self) -> str:
        """Label with unit and direction, for the head of a column."""
        arrow = {"lower": "↓", "higher": "↑", "one": "→1"}[self.better]
        return f"{self.label} {f'[{self.unit}] ' if self.unit else ''}{arrow}"

    def better_than(self, first: float, second: float) -> bool:
        """Whether `first` is better than `second`."""
        if self.better == "one":
            return abs(math.log(first)) < abs(math.log(second))
        return first < second if self.better == "lower" else first > second

    def best(self, values: Sequence[float]) -> float:
        """The best of one value or more."""
        return reduce(lambda best, value: value if self.better_than(value, best) else best, values)


def _absrel(prediction: Pixels, truth: Pixels) -> float:
    return float(np.mean(np.abs(prediction - truth) / truth))


def _rmse(prediction: Pixels, truth: Pixels) -> float:
    return float(np.sqrt(np.mean((prediction - truth) ** 2)))


def _log10(prediction: Pixels, truth: Pixels) -> float:
    return float(np.mean(np.abs(np.log10(prediction) - np.log10(truth))))


def _silog(prediction: Pixels, truth: Pixels) -> float:
    """100 times the standard deviation of the log error, which a wrong scale does not affect."""
    return float(100 * np.std(np.log(prediction) - np.log(truth)))


def _delta(threshold: float) -> Callable[[Pixels, Pixels], float]:
    def share(prediction: Pixels, truth: Pixels) -> float:
        return float(np.mean(np.maximum(prediction / truth, truth / prediction) < threshold))

    return share


def _scale(prediction: Pixels, truth: Pixels) -> float:
    return float(np.median(prediction) / np.median(truth))


METRICS = {
    "absrel": Metric("AbsRel", "", 0, np.inf, "lower", _absrel),
    "rmse": Metric("RMSE", "m", 0, np.inf, "lower", _rmse, squared=True),
    "log10": Metric("log10", "", 0, np.inf, "lower", _log10),
    "silog": Metric("SILog", "100 ln", 0, np.inf, "lower", _silog, squared=True),
    "delta1": Metric("δ1", "", 0, 1, "higher", _delta(1.25)),
    "delta2": Metric("δ2", "", 0, 1, "higher", _delta(1.25**2)),
    "delta3": Metric("δ3", "", 0, 1, "higher", _delta(1.25**3)),
    "within5": Metric("δ<1.05", "", 0, 1, "higher", _delta(1.05)),
    "within1": Metric("δ<1.01", "", 0, 1, "higher", _delta(1.01)),
    "scale": Metric("scale", "", 0, np.inf, "one", _scale),
}
"""To add a metric, write a function above and add a line here."""


def measure(prediction: Pixels, truth: Pixels) -> dict[str, float]:
    """Every metric over the same pixels, both float64 [n] in metres, finite and positive. Raises DataError for none."""
    if truth.size == 0:
        raise DataError("No pixel has true depth to compare with", fix="Omit the image")
    return {name: metric.compute(prediction, truth) for name, metric in METRICS.items()}


def valid(truth: NDArray[Any], low: float, high: float) -> NDArray[np.bool_]:
    """Where the truth is finite and inside (low, high) metres, both ends excluded."""
    seen: NDArray[np.bool_] = np.isfinite(truth) & (truth > low) & (truth < high)
    return seen


def clamp(prediction: NDArray[Any], low: float, high: float) -> Pixels:
    """The prediction in float64, clamped to [low, high] metres; NaN becomes `low`."""
    return np.clip(np.nan_to_num(np.asarray(prediction, np.float64), nan=low, posinf=high, neginf=low), low, high)


def score(prediction: NDArray[Any], truth: NDArray[Any], *, low: float = 0.1, high: float = 10.0) -> dict[str, float]:
    """Every metric of one prediction [H, W] in metres, unaligned, where the truth lies inside (low, high).

    The prediction is clamped to [low, high]. Raises DataError when the shapes differ or no pixel is valid.
    """
    if prediction.shape != truth.shape:
        raise DataError(
            f"Prediction {list(prediction.shape)} and truth {list(truth.shape)} differ in shape",
            fix="Frame both alike, with InputSpec.framing",
        )
    seen = valid(truth, low, high)
    return measure(clamp(prediction[seen], low, high), truth[seen].astype(np.float64))
