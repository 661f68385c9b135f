"""What is measured of an artefact besides accuracy: the columns that the terminal's table and reports share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekd.bench.latency import Measured
from edgekd.bench.result import BenchRow

__all__ = ["SPEED", "Figure"]


@dataclass(frozen=True)
class Figure:
    """One figure of a row. `name` is its column in CSV, `heading` what people read in a report."""

    name: str
    heading: str
    about: str
    value: Callable[[BenchRow], float | None]
    format: str
    better: Literal["lower", "higher"]
    grade: Callable[[BenchRow], str | None] = lambda row: None

    def text(self, row: BenchRow) -> str:
        value = self.value(row)
        return "-" if value is None else format(value, self.format)

    def best(self, values: Sequence[float]) -> float:
        return min(values) if self.better == "lower" else max(values)


def _of(part: Callable[[BenchRow], Measured | None], figure: str) -> Callable[[BenchRow], float | None]:
    def value(row: BenchRow) -> float | None:
        measured = part(row)
        return None if measured is None else getattr(measured.timing, figure)

    return value


def _graded(part: Callable[[BenchRow], Measured | None]) -> Callable[[BenchRow], str | None]:
    def letter(row: BenchRow) -> str | None:
        measured = part(row)
        return None if measured is None else measured.grade.letter

    return letter


def _infer(row: BenchRow) -> Measured | None:
    return None if row.latency is None else row.latency.infer


def _resident(row: BenchRow) -> Measured | None:
    return None if row.latency is None else row.latency.resident


def _framed(row: BenchRow) -> Measured | None:
    return None if row.latency is None else row.latency.framed


def _streams(row: BenchRow) -> Measured | None:
    return None if row.throughput is None else row.throughput.measured


def _cold_letter(row: BenchRow) -> str | None:
    return None if row.cold is None else row.cold.grade.letter


def _rate(row: BenchRow) -> float | None:
    return None if row.throughput is None else row.throughput.pictures_per_second


def _cold(figure: str) -> Callable[[BenchRow], float | None]:
    return lambda row: None if row.cold is None else getattr(row.cold, figure)


def _drift(figure: str) -> Callable[[BenchRow], float | None]:
    return lambda row: row.drift.get(figure)


SPEED = (
    Figure("size_mb", "MB", "the model's files", lambda row: row.size / 1e6, ".2f", "lower"),
    Figure(
        "p50_ms", "p50 ms", "median inference, copies included", _of(_infer, "p50"), ".2f", "lower", _graded(_infer)
    ),
    Figure("p90_ms", "p90", "90 of 100 are faster", _of(_infer, "p90"), ".2f", "lower"),
    Figure("p99_ms", "p99", "99 of 100 are faster", _of(_infer, "p99"), ".2f", "lower"),
    Figure("least_ms", "min", "the fastest", _of(_infer, "least"), ".2f", "lower"),
    Figure("cpu_ms", "CPU ms", "processor time of all threads", _of(_infer, "cpu"), ".2f", "lower"),
    Figure(
        "no_copies_ms",
        "no copies",
        "median with picture and depth left in the runtime's memory",
        _of(_resident, "p50"),
        ".2f",
        "lower",
        _graded(_resident),
    ),
    Figure(
        "framed_ms",
        "framed",
        "median including framing of a camera picture",
        _of(_framed, "p50"),
        ".2f",
        "lower",
        _graded(_framed),
    ),
    Figure(
        "pictures_per_s", "pictures/s", "with several concurrent streams", _rate, ".0f", "higher", _graded(_streams)
    ),
    Figure("load_ms", "load ms", "import and open, in a new process", _cold("load"), ".0f", "lower", _cold_letter),
    Figure("first_ms", "first ms", "first inference, in a new process", _cold("first"), ".1f", "lower", _cold_letter),
    Figure("peak_mib", "peak MiB", "peak memory of that process", _cold("peak_mib"), ".0f", "lower"),
    Figure(
        "millijoules",
        "mJ",
        "energy per picture, whole machine",
        lambda row: row.millijoules,
        ".1f",
        "lower",
        _graded(_infer),
    ),
    Figure("drift_within_5", "drift <5 %", "share of pixels within 5 % of fp32", _drift("within_5"), ".3f", "higher"),
    Figure("drift_within_1", "drift <1 %", "share of pixels within 1 % of fp32", _drift("within_1"), ".3f", "higher"),
    Figure(
        "flicker_added_percent",
        "flicker %",
        "added to fp32's flicker",
        lambda row: row.flicker_percent,
        ".2f",
        "lower",
    ),
)
"""To add a figure, add a line here. A column without any value is not shown."""
