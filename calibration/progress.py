"""How long-running work reports progress, without knowing who shows it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

__all__ = ["Advance", "Progress", "Quiet"]

Advance = Callable[[int], None]
"""Call with the number of units done since the last call."""


class Progress(Protocol):
    """Shows tasks. The command line uses a rich bar with the time left; `Quiet` shows nothing."""

    def task(self, label: str, total: int | None = None, *, every: float = 20.0) -> AbstractContextManager[Advance]:
        """A bar for `total` units of work; with `total` None, a timer for work of unknown length.

        Where lines are shown instead of bars, one is printed at least every `every` seconds.
        """
        ...

    def note(self, text: str) -> None:
        """One line that stays on the screen above the bars."""
        ...


class Quiet:
    """A Progress that shows nothing."""

    @contextlib.contextmanager
    def task(self, label: str, total: int | None = None, *, every: float = 20.0) -> Iterator[Advance]:
        yield lambda done: None

    def note(self, text: str) -> None:
        pass
