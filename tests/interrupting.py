"""A Progress that presses Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from calibration.progress import Advance, Quiet

__all__ = ["InterruptAfter"]


class InterruptAfter(Quiet):
    """Presses Ctrl-C once `units` units of the task `label` are done, or of all tasks together."""

    def __init__(self, units: int, label: str | None = None) -> None:
        self._left, self._label = units, label

    @contextlib.contextmanager
    def task(self, label: str, total: int | None = None) -> Iterator[Advance]:
        def advance(done: int) -> None:
            if self._label is not None and label != self._label:
                return
            self._left -= done
            if self._left == 0:
                signal.raise_signal(signal.SIGINT)

        yield advance
