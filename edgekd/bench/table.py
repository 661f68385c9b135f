"""A bench result as a table for a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calibration.errors import EdgekdError
from calibration.wording import counted
from edgekd.bench.latency import Latency, Measured
from edgekd.bench.result import BenchResult, BenchRow, threads_and_batch
from edgekd.evaluate.metrics import METRICS

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["bench_table"]

_METRICS = ("absrel", "delta1", "rmse", "scale")
_NOTHING = "-"


@dataclass(frozen=True)
class _Column:
    group: str
    heading: str
    cell: Callable[[BenchRow], float | str | None]
    format: str = ""
    better: Callable[[float, float], bool] | None = None  # None: no best value
    rank: int = 0  # the highest is dropped first when the table is too wide

    def texts(self, rows: tuple[BenchRow, ...]) -> list[str]:
        """The cells, the best one starred: colour alone would be lost in a pipe."""
        values = [self.cell(row) for row in rows]
        texts = [_NOTHING if value is None else format(value, self.format) for value in values]
        numbers = [value for value in values if isinstance(value, float)]
        if self.better is None or len(numbers) < 2:
            return texts
        best = numbers[0]
        for value in numbers[1:]:
            best = value if self.better(value, best) else best
        starred = [value == best for value in values]
        return [text + ("*" if star else " ") for text, star in zip(texts, starred, strict=True)]


def bench_table(result: BenchResult, *, width: int = 100) -> RenderableType:
    """A rich table with what does not fit into cells beneath it: reasons, evidence, protocols.

    In fewer than `width` columns the least important ones are omitted, and a line says which.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    columns, dropped = _fit(_columns(result), result.rows, width)
    title = f"{result.machine.title}: {threads_and_batch(result.settings)}"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for place, column in enumerate(columns):
        heading = Text(f"{column.group}\n{column.heading}")
        table.add_column(heading, justify="left" if place == 0 else "right", no_wrap=True)
    for cells in zip(*(column.texts(result.rows) for column in columns), strict=True):
        table.add_row(*(Text(cell, style="bold" if cell.endswith("*") else "") for cell in cells))
    lines = [*_remarks(result), *([f"Omitted for width: {', '.join(dropped)}"] if dropped else [])]
    return Group(table, *(Text(line) for line in lines))


def _columns(result: BenchResult) -> list[_Column]:
    lower, higher = METRICS["absrel"].better_than, METRICS["delta1"].better_than
    many = result.settings.get("streams")
    streams = counted(many, "stream") if isinstance(many, (int, float)) else "streams"
    columns = [
        _Column("", "artefact", lambda row: row.name),
        _Column("size", "MB", lambda row: row.size / 1e6, ".2f", lower, rank=5),
        _Column("latency", "p50 ms", _time(lambda latency: latency.p50), ".2f", lower),
        _Column("", "p90 ms", _time(lambda latency: latency.infer.timing.p90), ".2f", lower, rank=12),
        _Column("", "p99 ms", _time(lambda latency: latency.p99), ".2f", lower, rank=6),
        _Column("", "CPU ms", _time(lambda latency: latency.infer.timing.cpu), ".2f", lower, rank=13),
        _Column("", "no copies", _time(lambda latency: _p50(latency.resident)), ".2f", lower, rank=15),
        _Column("", "framed", _time(lambda latency: _p50(latency.framed)), ".2f", lower, rank=14),
        _Column("", "grade", lambda row: None if row.latency is None else row.latency.infer.grade.letter),
        _Column(
            streams,
            "pictures/s",
            lambda row: None if row.throughput is None else row.throughput.pictures_per_second,
            ".0f",
            higher,
            rank=9,
        ),
        _Column("cold", "load ms", lambda row: None if row.cold is None else row.cold.load, ".0f", lower, rank=10),
        _Column("", "peak MiB", lambda row: None if row.cold is None else row.cold.peak_mib, ".0f", lower, rank=11),
    ]
    if any(row.millijoules is not None for row in result.rows):
        columns.append(_Column("energy", "mJ", lambda row: row.millijoules, ".1f", lower, rank=4))
    if any("within_1" in row.drift for row in result.rows):
        columns.append(_Column("drift", "<1 % ↑", lambda row: row.drift.get("within_1"), ".3f", higher, rank=7))
    if any(row.flicker_percent is not None for row in result.rows):
        columns.append(_Column("flicker", "added % ↓", lambda row: row.flicker_percent, ".2f", lower, rank=8))
    protocols = dict.fromkeys(
        (row.evaluation.protocol, row.evaluation.digest) for row in result.rows if row.evaluation is not None
    )
    for protocol, digest in protocols:
        columns += [_metric(protocol, digest, name, rank) for rank, name in enumerate(_METRICS)]
    return columns


def _p50(measured: Measured | None) -> float | None:
    return None if measured is None else measured.timing.p50


def _time(part: Callable[[Latency], float | None]) -> Callable[[BenchRow], float | None]:
    return lambda row: None if row.latency is None else part(row.latency)


def _metric(protocol: str, digest: str, name: str, place: int) -> _Column:
    """A column of one metric: only rows scored by this protocol on these data are in it."""
    metric = METRICS[name]

    def cell(row: BenchRow) -> float | None:
        scored = row.evaluation
        if scored is None or (scored.protocol, scored.digest) != (protocol, digest):
            return None
        return scored.means["raw"][name]

    return _Column(protocol, metric.heading, cell, ".3f", metric.better_than, rank=(1, 2, 16, 3)[place])


def _fit(columns: list[_Column], rows: tuple[BenchRow, ...], width: int) -> tuple[list[_Column], list[str]]:
    dropped = []
    while sum(_breadth(column, rows) for column in columns) > width:
        last = max(columns, key=lambda column: column.rank)
        if last.rank == 0:
            break
        columns = [column for column in columns if column is not last]
        dropped.append(f"{last.group} {last.heading}".strip())
    return columns, dropped


def _breadth(column: _Column, rows: tuple[BenchRow, ...]) -> int:
    return 3 + max(map(len, [column.group, column.heading, *column.texts(rows)]))


def _remarks(result: BenchResult) -> list[str]:
    lines = ["* best in its column"]
    for row in result.rows:
        if row.reason is not None:
            lines.append(f"{row.name}: {EdgekdError(row.reason, fix=row.fix or '')}")
        if row.latency is not None and row.latency.infer.grade.letter != "A":
            given = row.latency.infer.grade
            lines.append(f"{row.name} {given.letter}: {'; '.join(given.evidence)}")
        if row.evaluation is not None:
            lines += [f"{row.name}: {remark}" for remark in row.evaluation.remarks()]
    scored = {(e.protocol, e.digest): e for e in (row.evaluation for row in result.rows) if e is not None}
    for evaluation in scored.values():
        ends = evaluation.interval("delta1")
        lines.append(
            f"{evaluation.protocol}: {evaluation.about}; {counted(evaluation.images, 'image')} of "
            f"{evaluation.dataset}, unaligned; "
            + (
                "no interval from a single image"
                if ends is None
                else f"95 % interval of δ1 about ±{(ends[1] - ends[0]) / 2:.3f} ({evaluation.drawn} drawn)"
            )
        )
    if result.clip is not None:
        lines.append(f"Flicker on {result.clip}: frame-to-frame change of the difference from fp32, in % of depth")
    latencies = [row.latency for row in result.rows if row.latency is not None]
    sensors = dict.fromkeys(latency.infer.conditions.energy_from for latency in latencies)
    lines += [f"Energy per picture: the whole machine, from {names}" for names in sensors if names is not None]
    unknown = sorted({name for latency in latencies for name in latency.infer.grade.unknown})
    if unknown:
        lines.append(f"Not measurable on this machine: {', '.join(unknown)}")
    return lines
