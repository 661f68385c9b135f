"""A bench result as a table for a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calibration.errors import EdgekdError
from calibration.wording import counted
from edgekd.bench.figures import SPEED
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
    best: Callable[[Sequence[float]], float] | None = None  # None: no best value
    rank: int = 0  # the highest is dropped first when the table is too wide

    def texts(self, rows: tuple[BenchRow, ...]) -> list[str]:
        """The cells, the best one starred: colour alone would be lost in a pipe."""
        values = [self.cell(row) for row in rows]
        texts = [_NOTHING if value is None else format(value, self.format) for value in values]
        numbers = [value for value in values if isinstance(value, float)]
        if self.best is None or len(numbers) < 2:
            return texts
        best = self.best(numbers)
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
    many = result.settings.get("streams")
    streams = counted(many, "stream") if isinstance(many, (int, float)) else "streams"
    columns = [
        _Column("", "artefact", lambda row: row.name),
        _figure("size", "size_mb", rank=5),
        _figure("latency", "p50_ms"),
        _figure("", "p90_ms", "p90 ms", rank=12),
        _figure("", "p99_ms", "p99 ms", rank=6),
        _figure("", "cpu_ms", rank=13),
        _figure("", "no_copies_ms", rank=15),
        _figure("", "framed_ms", rank=14),
        _Column("", "grade", lambda row: None if row.latency is None else row.latency.infer.grade.letter),
        _figure(streams, "pictures_per_s", rank=9),
        _figure("cold", "load_ms", rank=10),
        _figure("", "peak_mib", rank=11),
    ]
    if any(row.millijoules is not None for row in result.rows):
        columns.append(_figure("energy", "millijoules", rank=4))
    if any("within_1" in row.drift for row in result.rows):
        columns.append(_figure("drift", "drift_within_1", "<1 % ↑", rank=7))
    if any(row.flicker_percent is not None for row in result.rows):
        columns.append(_figure("flicker", "flicker_added_percent", "added % ↓", rank=8))
    protocols = dict.fromkeys(
        (row.evaluation.protocol, row.evaluation.digest) for row in result.rows if row.evaluation is not None
    )
    for protocol, digest in protocols:
        columns += [_metric(protocol, digest, name, rank) for rank, name in enumerate(_METRICS)]
    return columns


def _figure(group: str, name: str, heading: str | None = None, rank: int = 0) -> _Column:
    """A column of one of `SPEED`, by its name; its heading is the report's unless another is given."""
    (figure,) = (figure for figure in SPEED if figure.name == name)
    return _Column(group, heading or figure.heading, figure.value, figure.format, figure.best, rank)


def _metric(protocol: str, digest: str, name: str, place: int) -> _Column:
    """A column of one metric: only rows scored by this protocol on these data are in it."""
    metric = METRICS[name]

    def cell(row: BenchRow) -> float | None:
        scored = row.evaluation
        if scored is None or (scored.protocol, scored.digest) != (protocol, digest):
            return None
        return scored.means["raw"][name]

    return _Column(protocol, metric.heading, cell, ".3f", metric.best, rank=(1, 2, 16, 3)[place])


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
