"""Ctrl-C where it can be answered: between two steps, and not while a library that swallows it is at work."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

__all__ = ["deferred_interrupt", "end_as_interrupted"]

_ENDS = tuple(signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))  # no SIGHUP on Windows


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C, SIGTERM or SIGHUP came; a second one interrupts at once.

    Off the main thread signals cannot be caught, and the function always says no.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, *_ENDS) if not _ignored(number)}
    try:
        yield lambda: came
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def end_as_interrupted() -> None:
    """SIGTERM and SIGHUP (a closed connection) end this process as Ctrl-C does, with what was finished kept.

    Not where they are ignored, as with nohup.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in _ENDS:
        if not _ignored(number):
            signal.signal(number, interrupt)


def _ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN
