"""Tables for people: at most as wide as the terminal, and never cut in a file or a pipe."""

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
_UNCUT = 400  # columns in a file or a pipe
_NAME = 24  # columns that a name or a word keeps, however narrow the terminal


@dataclass(frozen=True)
class Table:
    """Rows under headings; `right` holds the numbers of the right-aligned columns of figures."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()
    title: str = ""
    caption: str = ""


def width(stream: TextIO) -> int:
    """Columns available to a table on this stream."""
    if not stream.isatty():
        return _UNCUT
    return shutil.get_terminal_size((80, 24)).columns


def render(shown: Table | RenderableType, stream: TextIO) -> str:
    """Text for this stream from a table, or from anything else that rich can show."""
    from rich.console import Console
    from rich.measure import Measurement
    from rich.segment import Segment, Segments
    from rich.text import Text

    buffer = io.StringIO()
    terminal = stream.isatty()
    # Given no height, rich takes a terminal with TERM=dumb for 80 columns wide whatever the width.
    console = Console(file=buffer, force_terminal=terminal, width=width(stream), height=25, highlight=False)
    if isinstance(shown, Table):
        table = _rich(shown)
        needed = Measurement.get(console, console.options.update(width=_UNCUT), table).minimum
        # Also measure the drawn table: rich may narrow a column below its need, widen it again, and cut the last.
        drawn = max(map(Segment.get_line_length, Segment.split_lines(console.render(table))), default=0)
        console.print(table if max(needed, drawn) <= console.width else _stacked(shown))
        if shown.caption:
            console.print(Text(shown.caption, style="table.caption"))
    else:  # a dataset's name may hold an escape sequence, as the cells of a table may
        segments = (Segment(printable(part.text), part.style, part.control) for part in console.render(shown))
        console.print(Segments(segments), end="")
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()).strip("\n")


def _stacked(table: Table) -> RenderableType:
    """The cells of each row as text below its name, for a terminal too narrow for columns; nothing is left out."""
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
        # Minimum widths: rich squeezes names and words to nothing before it cuts a figure, and splits a figure's words.
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
    """The text without control characters: the name of a file or run may hold an escape sequence."""
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
