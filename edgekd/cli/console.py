"""The only module that prints: data on standard output, everything else on standard error."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.progress import Advance
from edgekd.cli.bars import Bars, Lines
from edgekd.cli.tables import Table, printable, render, width

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Console", "console"]


class Console:
    """Shows a verb's output. Implements `calibration.progress.Progress`: bars on a terminal, otherwise plain lines."""

    def __init__(self) -> None:
        self.start()

    def start(self, arguments: Sequence[str] = ()) -> None:
        """Begin a command with these arguments and forget the previous one: a process may run several."""
        self.arguments = tuple(arguments)
        self.json = False
        self._said: set[str] = set()
        self._tasks: Bars | Lines | None = None

    @property
    def width(self) -> int:
        """Columns available to a table on standard output."""
        return width(sys.stdout)

    def say(self, text: str) -> None:
        """One line of data on standard output."""
        print(text, flush=True)  # noqa: T201

    def result(self, value: Any, *shown: Table | RenderableType) -> None:
        """The outcome of a verb, on standard output: `value` as JSON with --json, else the tables in `shown`."""
        if self.json:
            self.say(json.dumps(value, indent=2, allow_nan=False))
            return
        if shown:
            self.say("\n\n".join(render(part, sys.stdout) for part in shown))

    def note(self, text: str) -> None:
        """One line that stays on the screen above the bars; printed once, however many steps repeat it."""
        if text not in self._said:
            self._said.add(text)
            self._show().print(printable(text))

    def next_command(self, *words: str | Path) -> None:
        """The last line of a verb: what to try next, quoted so that it can be copied."""
        self._show().print(printable(f"Next: {shlex.join(['edgekd', *map(str, words)])}"), style="bold")

    def failure(self, text: str) -> None:
        """One line that says why the command failed, with spaces kept: a path may have two in a row."""
        line = " ".join(part.strip() for part in text.strip().splitlines())
        self._show().print(printable(f"Error: {line}"), style="red")

    @contextlib.contextmanager
    def task(self, label: str, total: int | None = None, *, every: float = 20.0) -> Iterator[Advance]:
        """A bar for `total` units of work, or a timer without a total; in a log, a line every `every` seconds."""
        with self._show().task(printable(label), total, every) as advance:
            yield advance

    def _show(self) -> Bars | Lines:
        if self._tasks is None:
            self._tasks = Bars() if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else Lines()
        return self._tasks


console = Console()
"""The command line's console. A library caller passes its own Progress instead."""
