"""Tables for people: as wide as the terminal at most, and never cut where nobody reads them (a file, a pipe)."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table as RichTable

__all__ = ["Table", "figure", "printable", "render", "size_text", "width"]

_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNCUT = 400  # columns of a file
_NAME = 24  # columns that a name or a word keeps, whatever the terminal's width


@dataclass(frozen=True)
class Table:
    """Rows under headings; `right` are the columns of figures, by their number."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()
    title: str = ""
    caption: str = ""


def width(stream: TextIO) -> int:
    """Columns that a table on this stream may have."""
    if not stream.isatty():
        return _UNCUT
    return shutil.get_terminal_size((80, 24)).columns


def render(shown: Table | RenderableType, stream: TextIO) -> str:
    """A table, or anything that rich can show, as text for this stream."""
    from rich.console import Console
    from rich.measure import Measurement
    from rich.segment import Segment
    from rich.text import Text

    buffer = io.StringIO()
    terminal = stream.isatty()
    console = Console(file=buffer, force_terminal=terminal, width=width(stream), highlight=False)
    if isinstance(shown, Table):
        table = _rich(shown)
        needed = Measurement.get(console, console.options.update(width=_UNCUT), table).minimum
        # As it is drawn too: rich may narrow one column below what it needs, widen it again, and cut the last.
        drawn = max(map(Segment.get_line_length, Segment.split_lines(console.render(table))), default=0)
        console.print(table if max(needed, drawn) <= console.width else _stacked(shown))
        if shown.caption:
            console.print(Text(shown.caption, style="table.caption"))
    else:
        console.print(shown)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()).strip("\n")


def _stacked(table: Table) -> RenderableType:
    """Row under row, for a terminal that is too narrow for the columns: nothing is left out."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parts: list[RenderableType] = [Text(table.title, style="bold")] if table.title else []
    for row in table.rows:
        cells = [
            " ".join(filter(None, (" ".join(heading.split()), printable(cell))))
            for heading, cell in zip(table.headings[1:], row[1:], strict=True)
        ]
        parts += [Text(printable(row[0]), style="bold"), Padding(Text(", ".join(cells)), (0, 0, 0, 2))]
    return Group(*parts)


def _rich(table: Table) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        title=Text(table.title, style="bold") if table.title else None,
        title_justify="left",
    )
    for number, heading in enumerate(table.headings):
        figures = number in table.right
        # Rich would squeeze names and words away before it cuts a figure, and takes a figure's words for apart.
        if figures:
            parts = [line for cell in (heading, *(row[number] for row in table.rows)) for line in cell.splitlines()]
        else:
            parts = [part for row in table.rows for part in ([row[0]] if number == 0 else row[number].split())]
        needed = max(map(len, parts), default=0)
        shown.add_column(
            Text(heading),
            justify="right" if figures else "left",
            no_wrap=figures or (number == 0 and needed <= _NAME),
            overflow="fold",
            min_width=(needed if figures else min(needed, _NAME)) or None,
        )
    for row in table.rows:
        shown.add_row(*(Text(printable(cell)) for cell in row))
    return shown


def printable(text: str) -> str:
    """Text in which nothing commands a terminal: files and runs may be called anything, an escape sequence too."""
    return _COMMANDS.sub("\N{REPLACEMENT CHARACTER}", text)


def figure(value: float | None) -> str:
    """A figure with three decimals, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def size_text(size: int) -> str:
    """Bytes in the unit that fits: kB, MB or GB (powers of ten)."""
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if size >= 10**power:
            return f"{size / 10**power:.1f} {unit}"
    return f"{size} B"
