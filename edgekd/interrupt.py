"""What Ctrl-C, SIGTERM and SIGHUP do: they end work between two steps, not inside a library that would swallow them."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

__all__ = ["deferred_interrupt", "end_as_interrupted", "end_at_once"]

_ENDS = tuple(signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))  # no SIGHUP on Windows


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether Ctrl-C, SIGTERM or SIGHUP came; a second signal interrupts at once.

    Outside the main thread, signals cannot be caught and the function always returns False.
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
    """Make SIGTERM and SIGHUP (a closed connection) end this process as Ctrl-C does, keeping finished work.

    Signals that are ignored, as under nohup, stay ignored.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in _ENDS:
        if not _ignored(number):
            signal.signal(number, interrupt)


def end_at_once() -> None:
    """Let signals end this process without a traceback: its work is done, and only libraries still tidy up at exit."""
    for number in (signal.SIGINT, *_ENDS):
        if not _ignored(number):
            signal.signal(number, signal.SIG_DFL)


def _ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN
