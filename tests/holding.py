"""A folder that somebody else is writing to, for a test of who waits for it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edgekd.run import locked

__all__ = ["held_elsewhere"]


@contextlib.contextmanager
def held_elsewhere(folder: Path, then: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the folder's lock in another thread for half a second and while it does `then`."""
    held = threading.Event()

    def other() -> None:
        with locked(folder):
            held.set()
            time.sleep(0.5)
            then()

    thread = threading.Thread(target=other)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        thread.join()
