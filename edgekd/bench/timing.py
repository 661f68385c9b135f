"""Timing one call many times: only the call stands between two readings of the clock. See README.md for the rules."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ENOUGH", "Timing", "p99_interval", "summarise_times", "time_calls"]

ENOUGH = 368
"""Samples needed for the 95 % interval of the 99th percentile to have an upper bound: 0.99 ** 368 < 0.025."""

_CHUNK = 50  # calls, at most, between checks of the elapsed time
_CHUNK_SECONDS = 0.25
_BLOCKS = 10  # parts of the measurement whose medians are compared
_MOST = 100_000  # samples
_LONGEST = 60.0  # seconds after which the minimum number of samples no longer counts


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call, from `samples` of them."""

    samples: int
    p50: float
    p90: float
    p99: float
    p99_low: float  # 95 % interval of p99
    p99_high: float | None  # None: too few samples to bound it
    least: float
    mean: float
    cpu: float  # CPU time of the whole process per call, all threads together
    seconds: float  # how long sampling took
    blocks: tuple[float, ...]  # medians of ten successive parts: a slope is throttling, a jump a disturbance

    @property
    def cores(self) -> float:
        """Cores that the calls kept busy, on average."""
        return self.cpu * self.samples / 1000 / self.seconds if self.seconds > 0 else 0.0


def time_calls(
    call: Callable[[Any], object],
    feeds: Sequence[Any],
    *,
    minimum: int,
    seconds: float,
    between: Callable[[], None] = lambda: None,
) -> Timing:
    """Time `call(feed)` on the feeds in turn: at least `minimum` times and `seconds` seconds, a minute at most.

    `between` is called now and then between two calls, outside what is timed.
    """
    clock, cpu_clock = time.perf_counter_ns, time.process_time_ns
    times = np.zeros(_MOST, np.int64)
    done, varied, cpu, spent, chunk = 0, len(feeds), 0, 0, 1
    with _no_collector():
        begun = clock()
        enough, longest = begun + seconds * 1e9, begun + max(seconds, _LONGEST) * 1e9
        while done < _MOST and ((done < minimum and clock() < longest) or clock() < enough or done == 0):
            chunk_begun, cpu_begun = clock(), cpu_clock()
            end = min(done + chunk, _MOST)
            for place in range(done, end):
                feed = feeds[place % varied]
                start = clock()
                call(feed)
                times[place] = clock() - start
            took = clock() - chunk_begun
            cpu, spent = cpu + cpu_clock() - cpu_begun, spent + took
            chunk = max(1, min(_CHUNK, int(_CHUNK_SECONDS * 1e9 * (end - done) / max(took, 1))))
            done = end
            between()
    return summarise_times(times[:done], cpu, spent / 1e9)


def summarise_times(nanoseconds: NDArray[np.int64], cpu: int, seconds: float) -> Timing:
    """The figures of these calls, in order of time; `cpu` is their CPU time together, in nanoseconds."""
    milliseconds = nanoseconds / 1e6
    p50, p90, p99 = np.percentile(milliseconds, (50, 90, 99)).tolist()
    low, high = p99_interval(milliseconds)
    parts = np.array_split(milliseconds, min(_BLOCKS, len(milliseconds)))
    return Timing(
        samples=len(milliseconds),
        p50=p50,
        p90=p90,
        p99=p99,
        p99_low=low,
        p99_high=high,
        least=float(milliseconds.min()),
        mean=float(milliseconds.mean()),
        cpu=cpu / len(milliseconds) / 1e6,
        seconds=seconds,
        blocks=tuple(float(np.median(part)) for part in parts),
    )


def p99_interval(values: NDArray[np.float64]) -> tuple[float, float | None]:
    """95 % interval of the 99th percentile, for any distribution: two order statistics.

    How many of n samples lie above the true percentile is binomial (W. Conover, *Practical Nonparametric Statistics*,
    chapter 3.2). The second is None without enough samples to bound it above.
    """
    n, above = len(values), 0.01
    counts = np.arange(n + 1)
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in counts.tolist()]
    chance = np.cumsum(np.exp(np.array(logs) + counts * math.log(above) + (n - counts) * math.log1p(-above)))
    fewest = int(np.searchsorted(chance, 0.025))  # fewer lie above only in 2.5 % of cases
    most = int(np.searchsorted(chance, 0.975))  # no more than these, in 97.5 % of cases
    ordered = np.sort(values)
    high = float(ordered[n - fewest]) if fewest > 0 else None
    return float(ordered[max(n - most - 1, 0)]), high


@contextmanager
def _no_collector() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
