"""Pictures per second when several streams infer at once, each with an opened artefact and a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.bench.grade import grade
from edgekd.bench.latency import Measured, uses_gpu
from edgekd.bench.timing import summarise_times
from edgekd.bench.watch import Watch
from targets.base import Runner

__all__ = ["Throughput", "measure_throughput"]

_WARM_UP = 0.3  # seconds


@dataclass(frozen=True)
class Throughput:
    """The rate of `streams` at once; `measured` holds the latencies that they saw meanwhile."""

    streams: int
    pictures_per_second: float
    measured: Measured


def measure_throughput(
    open_runner: Callable[[], Runner],
    feeds: Sequence[NDArray[np.uint8]],
    streams: int,
    seconds: float,
    usable_cores: float,
) -> Throughput:
    """Let `streams` runners infer pictures uint8 [batch, H, W, 3] for `seconds` seconds, without a pause between them.

    Raises what opening and inferring raise.
    """
    with ExitStack() as stack:
        runners = [stack.enter_context(open_runner()) for _ in range(streams)]
        for runner in runners:
            runner.infer(feeds[0])
        return _measure(runners, feeds, seconds, usable_cores)


def _measure(
    runners: Sequence[Runner], feeds: Sequence[NDArray[np.uint8]], seconds: float, usable_cores: float
) -> Throughput:
    over = threading.Event()
    counting = threading.Event()
    done: list[list[tuple[int, int]]] = [[] for _ in runners]  # (when it ended, how long it took), nanoseconds
    errors: list[BaseException] = []

    def stream(number: int) -> None:
        clock, infer, own, turn = time.perf_counter_ns, runners[number].infer, done[number], number
        try:
            while not over.is_set():
                feed = feeds[turn % len(feeds)]
                start = clock()
                infer(feed)
                end = clock()
                if counting.is_set():
                    own.append((end, end - start))
                turn += 1
        except BaseException as error:  # raised again by the waiting thread
            errors.append(error)
            over.set()

    threads = [threading.Thread(target=stream, args=(number,), daemon=True) for number in range(len(runners))]
    for thread in threads:
        thread.start()
    try:
        over.wait(_WARM_UP)
        watch = Watch()
        begun, cpu = time.perf_counter_ns(), time.process_time_ns()
        counting.set()
        while time.perf_counter_ns() - begun < 1e9 * seconds or not all(done):
            if over.wait(min(0.25, max(seconds, 0.01))):
                break
            watch.look()
        stop, cpu = time.perf_counter_ns(), time.process_time_ns() - cpu
        conditions = watch.conditions()
    finally:  # also after Ctrl-C: runners still in use must not be closed
        over.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    # Only what ended in time counts: with a slow network, a good part is still under way when time is up.
    ended = sorted(entry for own in done for entry in own if entry[0] <= stop)
    passed = (stop - begun) / 1e9
    timing = summarise_times(np.array([took for _, took in ended], np.int64), cpu, passed)
    rate = len(ended) * len(feeds[0]) / passed
    graded = grade(timing, conditions, usable_cores, room=watch.cores, gpu=uses_gpu(runners[0]))
    return Throughput(len(runners), rate, Measured(timing, conditions, graded))
