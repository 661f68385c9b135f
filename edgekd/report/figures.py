"""The columns of the report's tables, shared by the page, Markdown and CSV."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgekd.bench.latency import Measured
from edgekd.evaluate.evaluate import Evaluation
from edgekd.evaluate.metrics import METRICS
from edgekd.report.gather import Entry

__all__ = ["ACCURACY", "SPEED", "AccuracyColumn", "Column"]

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Column:
    """One figure of an entry. `name` is its column in CSV, `heading` what people read."""

    name: str
    heading: str
    about: str
    value: Callable[[Entry], float | None]
    format: str
    better: Better | None = None
    grade: Callable[[Entry], str | None] = lambda entry: None

    def text(self, entry: Entry) -> str:
        value = self.value(entry)
        return "-" if value is None else format(value, self.format)


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

    def better(self, first: float, second: float) -> bool:
        return METRICS[self.metric].better_than(first, second)


def _of(part: Callable[[Entry], Measured | None], figure: str) -> Callable[[Entry], float | None]:
    def value(entry: Entry) -> float | None:
        measured = part(entry)
        return None if measured is None else getattr(measured.timing, figure)

    return value


def _graded(part: Callable[[Entry], Measured | None]) -> Callable[[Entry], str | None]:
    def letter(entry: Entry) -> str | None:
        measured = part(entry)
        return None if measured is None else measured.grade.letter

    return letter


def _infer(entry: Entry) -> Measured | None:
    return None if entry.row.latency is None else entry.row.latency.infer


def _resident(entry: Entry) -> Measured | None:
    return None if entry.row.latency is None else entry.row.latency.resident


def _framed(entry: Entry) -> Measured | None:
    return None if entry.row.latency is None else entry.row.latency.framed


def _streams(entry: Entry) -> Measured | None:
    return None if entry.row.throughput is None else entry.row.throughput.measured


def _cold_letter(entry: Entry) -> str | None:
    return None if entry.row.cold is None else entry.row.cold.grade.letter


def _rate(entry: Entry) -> float | None:
    return None if entry.row.throughput is None else entry.row.throughput.pictures_per_second


def _cold(figure: str) -> Callable[[Entry], float | None]:
    return lambda entry: None if entry.row.cold is None else getattr(entry.row.cold, figure)


SPEED = (
    Column("size_mb", "MB", "the model's files", lambda entry: entry.row.size / 1e6, ".2f", "lower"),
    Column(
        "p50_ms", "p50 ms", "median inference, copies included", _of(_infer, "p50"), ".2f", "lower", _graded(_infer)
    ),
    Column("p90_ms", "p90", "90 of 100 are faster", _of(_infer, "p90"), ".2f", "lower"),
    Column("p99_ms", "p99", "99 of 100 are faster", _of(_infer, "p99"), ".2f", "lower"),
    Column("least_ms", "min", "the fastest", _of(_infer, "least"), ".2f", "lower"),
    Column("cpu_ms", "CPU ms", "processor time of all threads", _of(_infer, "cpu"), ".2f", "lower"),
    Column(
        "no_copies_ms",
        "no copies",
        "median with picture and depth left in the runtime's memory",
        _of(_resident, "p50"),
        ".2f",
        "lower",
        _graded(_resident),
    ),
    Column(
        "framed_ms",
        "framed",
        "median including framing of a camera picture",
        _of(_framed, "p50"),
        ".2f",
        "lower",
        _graded(_framed),
    ),
    Column(
        "pictures_per_s", "pictures/s", "with several concurrent streams", _rate, ".0f", "higher", _graded(_streams)
    ),
    Column("load_ms", "load ms", "import and open, in a new process", _cold("load"), ".0f", "lower", _cold_letter),
    Column("first_ms", "first ms", "first inference, in a new process", _cold("first"), ".1f", "lower", _cold_letter),
    Column("peak_mib", "peak MiB", "peak memory of that process", _cold("peak_mib"), ".0f", "lower"),
    Column(
        "millijoules",
        "mJ",
        "energy per picture, whole machine",
        lambda entry: entry.row.millijoules,
        ".1f",
        "lower",
        _graded(_infer),
    ),
    Column(
        "drift_within_5",
        "drift <5 %",
        "share of pixels within 5 % of fp32",
        lambda entry: entry.row.drift.get("within_5"),
        ".3f",
        "higher",
    ),
    Column(
        "drift_within_1",
        "drift <1 %",
        "share of pixels within 1 % of fp32",
        lambda entry: entry.row.drift.get("within_1"),
        ".3f",
        "higher",
    ),
    Column(
        "flicker_added_percent",
        "flicker %",
        "added to fp32's flicker",
        lambda entry: entry.row.flicker_percent,
        ".2f",
        "lower",
    ),
)
"""To add a figure, add a line here. A column without any value is not shown."""

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
