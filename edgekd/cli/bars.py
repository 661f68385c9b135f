"""Progress of work: bars on a terminal; elsewhere (a log, a pipe) an occasional line, so that it is never silent."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from calibration.progress import Advance

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Bars", "Lines"]

_FIRST_LINE = 5.0  # seconds of work before a log mentions it
_AT_ONCE = 0.2  # seconds; units done within them are taken as the finished work of an interrupted command
_COLOURS = {"red": "\x1b[31m", "bold": "\x1b[1m"}


class Bars:
    """Bars with percentage, count, time spent and time left, on standard error."""

    def __init__(self) -> None:
        self._live: Progress | None = None
        self._open = 0

    def print(self, text: str, style: str = "") -> None:
        """Print one line, above the bars while there are any."""
        if self._live is not None:
            self._live.console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)
        else:
            colour = "" if os.environ.get("NO_COLOR") else _COLOURS.get(style, "")
            sys.stderr.write(f"{colour}{text}\x1b[0m\n" if colour else f"{text}\n")
            sys.stderr.flush()

    @contextlib.contextmanager
    def task(self, label: str, total: int | None, every: float = 20.0) -> Iterator[Advance]:
        """A bar, redrawn five times a second. A nested bar disappears when it is done; the outermost one stays."""
        live = self._begin()
        bar = live.add_task(label, total=total, count="")
        done = 0

        def advance(units: int) -> None:
            nonlocal done
            done += units
            live.update(bar, advance=units, count=f"{done}/{total}" if total is not None else "")

        try:
            yield advance
            if total is None:
                live.update(bar, total=1, completed=1)
        finally:
            self._open -= 1
            if self._open:
                live.remove_task(bar)
            else:
                live.stop()
                self._live = None

    def _begin(self) -> Progress:
        self._open += 1
        if self._live is None:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                Progress,
                TaskProgressColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TaskProgressColumn(),
                TextColumn("{task.fields[count]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=Console(stderr=True),
                refresh_per_second=5,
                expand=True,
            )
            self._live.start()
        return self._live


class Lines:
    """Plain lines, printed from a separate thread, so that one long step does not look like a hang."""

    def print(self, text: str, style: str = "") -> None:
        """Print one line; `style` is ignored, as a log has none."""
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    @contextlib.contextmanager
    def task(self, label: str, total: int | None, every: float = 20.0) -> Iterator[Advance]:
        """Report progress after a few seconds, then every `every` seconds, and the total time at the end."""
        started, done, ahead, over = time.monotonic(), 0, 0, threading.Event()

        def advance(units: int) -> None:
            nonlocal done, ahead
            done += units
            if time.monotonic() - started < _AT_ONCE:
                ahead = done

        def report() -> None:
            wait = min(_FIRST_LINE, every)
            while not over.wait(wait):
                wait = every
                self.print(f"{label}: {_state(done, ahead, total, time.monotonic() - started)}")

        thread = threading.Thread(target=report, daemon=True)
        thread.start()
        try:
            yield advance
        finally:
            over.set()
            thread.join()
        units = f"{done} in " if total is not None else "done in "
        self.print(f"{label}: {units}{_clock(time.monotonic() - started)}")


def _state(done: int, ahead: int, total: int | None, seconds: float) -> str:
    if total is None:
        return f"{_clock(seconds)} so far"
    left = f", {_clock(seconds / (done - ahead) * (total - done))} left" if done > ahead else ""
    return f"{done / max(total, 1):.0%} ({done}/{total}), {_clock(seconds)} elapsed{left}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
