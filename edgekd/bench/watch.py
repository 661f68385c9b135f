"""Watching the machine during a measurement: between inferences, never inside one.

It needs no thread and no second process: either would take time from what is measured. A look takes about a
millisecond.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from edgekd.bench.conditions import Conditions, Reading, read_conditions, summarise

__all__ = ["Watch"]

_EVERY = 0.25  # seconds


class Watch:
    """Takes a reading at the start, when `look` is called and a quarter of a second has passed, and at the end."""

    def __init__(self, read: Callable[[], Reading] = read_conditions) -> None:
        self._read = read
        self._readings = [read()]

    @property
    def cores(self) -> int:
        """The number of cores that this process may be scheduled on."""
        return self._readings[0].cores

    def look(self) -> None:
        """Take a reading if it is time for one."""
        if time.monotonic() - self._readings[-1].when >= _EVERY:
            self._readings.append(self._read())

    def conditions(self) -> Conditions:
        """Take the last reading and say what happened since the first."""
        self._readings.append(self._read())
        return summarise(self._readings)
