"""The columns of accuracy, shared by the page, Markdown and CSV; those of speed are `edgekd.bench.figures.SPEED`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgekd.evaluate.evaluate import Evaluation
from edgekd.evaluate.metrics import METRICS

__all__ = ["ACCURACY", "AccuracyColumn"]


@dataclass(frozen=True)
class AccuracyColumn:
    """One figure of an evaluation, under `alignment`, over images or over pixels."""

    name: str
    heading: str
    metric: str
    alignment: str
    over: Literal["images", "pixels"] = "images"

    def value(self, score: Evaluation) -> float:
        means = score.means if self.over == "images" else score.pixel_means
        return means[self.alignment][self.metric]

    def interval(self, score: Evaluation) -> tuple[float, float] | None:
        return score.interval(self.metric, self.alignment) if self.over == "images" else None

    def best(self, values: Sequence[float]) -> float:
        return METRICS[self.metric].best(values)


ACCURACY = (
    AccuracyColumn("absrel", "AbsRel ↓", "absrel", "raw"),
    AccuracyColumn("delta1", "δ1 ↑", "delta1", "raw"),
    AccuracyColumn("rmse_m", "RMSE m ↓", "rmse", "raw"),
    AccuracyColumn("scale", "scale →1", "scale", "raw"),
    AccuracyColumn("absrel_median", "AbsRel, median-aligned ↓", "absrel", "median"),
    AccuracyColumn("delta1_median", "δ1, median-aligned ↑", "delta1", "median"),
    AccuracyColumn("absrel_scale_shift", "AbsRel, scale-shift ↓", "absrel", "scale-shift"),
    AccuracyColumn("delta1_scale_shift", "δ1, scale-shift ↑", "delta1", "scale-shift"),
    AccuracyColumn("absrel_pixels", "AbsRel per pixel ↓", "absrel", "raw", "pixels"),
    AccuracyColumn("delta1_pixels", "δ1 per pixel ↑", "delta1", "raw", "pixels"),
)
