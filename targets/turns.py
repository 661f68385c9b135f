"""Timing calls in turns, so that a busy machine slows all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

__all__ = ["time_in_turns"]

K = TypeVar("K")


def time_in_turns(
    calls: Mapping[K, Callable[[], object]],
    rounds: int,
    repeats: int,
    after_round: Callable[[], None] = lambda: None,
) -> dict[K, list[float]]:
    """Milliseconds of `rounds` x `repeats` runs of each call; in every round each call is first run once untimed."""
    times: dict[K, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            for _ in range(repeats):
                start = time.perf_counter()
                call()
                times[name].append(1000 * (time.perf_counter() - start))
        after_round()
    return times
