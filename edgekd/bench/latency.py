"""How long one inference takes, as the user's own loop would see it: with copies, without them, and with framing."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError
from calibration.progress import Progress
from edgekd.bench.conditions import Conditions
from edgekd.bench.grade import Grade, grade
from edgekd.bench.timing import ENOUGH, Timing, time_calls
from edgekd.bench.watch import Watch
from targets.base import Holding, Runner

__all__ = ["Latency", "Measured", "feeds_of", "measure_latency", "uses_gpu"]

_WINDOW = 20  # inferences in a window of the warm-up
_SETTLED = 0.03  # warm once the medians of two successive windows differ by less
_LONGEST_WARM_UP = 10.0  # seconds
_BESIDE = 2.0  # seconds, at most, for each of the two additional latencies

Infer = Callable[[NDArray[np.uint8]], Any]


@dataclass(frozen=True)
class Measured:
    """A timing, under which conditions it was taken, and how far it can be trusted."""

    timing: Timing
    conditions: Conditions
    grade: Grade


@dataclass(frozen=True)
class Latency:
    """One inference of `batch` pictures."""

    batch: int
    settings: Mapping[str, str]  # of the runtime: threads, provider, spinning
    first: float  # milliseconds of the very first inference after opening, in this process
    warm_up: int  # inferences before the first sample
    settled: bool  # whether the warm-up ended by its rule, not by its time limit
    infer: Measured  # `Runner.infer`: from pictures in memory to depth in memory, copies included
    resident: Measured | None  # the same with the pictures where the runtime reads them and the depth left there
    framed: Measured | None  # with a camera's picture framed for the network before each inference; a batch of one
    camera: str | None  # size of the camera's pictures

    @property
    def p50(self) -> float:
        return self.infer.timing.p50

    @property
    def p99(self) -> float:
        return self.infer.timing.p99


def measure_latency(
    runner: Runner,
    images: NDArray[np.uint8],
    *,
    minimum: int = ENOUGH,
    seconds: float = 5.0,
    batch: int = 1,
    camera: Sequence[NDArray[np.uint8]] = (),
    usable_cores: float = 1.0,
    progress: Progress,
) -> Latency:
    """Time `runner.infer` on varied pictures uint8 [N, H, W, 3]: at least `minimum` times and `seconds` seconds.

    With `camera`, pictures uint8 [h, w, 3] as they come from one, framing and inference together are timed as well.
    Raises DataError for pictures that are all the same or invalid settings, and what `infer` raises.
    """
    if minimum < 1 or batch < 1 or not (math.isfinite(seconds) and seconds >= 0):
        raise DataError(
            f"Latency cannot be measured with {minimum} samples, {seconds} s and batches of {batch}",
            fix="Use at least 1 sample, 1 picture and 0 seconds",
        )
    if len(images) < 2 or (images == images[0]).all():
        raise DataError(
            "Latency must be measured on pictures that differ: caches and branch prediction flatter a repeated one",
            fix="Pass at least two different pictures",
        )
    feeds = feeds_of(images, batch)
    start = time.perf_counter_ns()
    runner.infer(feeds[0])
    first = time.perf_counter_ns() - start
    with progress.task(f"Warming up {runner.artefact.name}", total=None) as advance:
        warm_up, settled = _warm_up(runner.infer, feeds, advance)
    problem = () if settled else (f"had not settled after {warm_up + 1} warm-up inferences",)

    def timed(call: Callable[[Any], object], fed: Sequence[Any], at_most: float = math.inf) -> Measured:
        gc.collect()  # before the watch, whose energy is divided among the calls
        watch = Watch()
        timing = time_calls(call, fed, minimum=minimum, seconds=min(seconds, at_most), between=watch.look)
        seen = watch.conditions()
        graded = grade(timing, seen, usable_cores, problem, room=watch.cores, gpu=uses_gpu(runner))
        return Measured(timing, seen, graded)

    infer = timed(runner.infer, feeds)
    resident = None
    if isinstance(runner, Holding):
        resident = timed(lambda run: run(), [runner.hold(feeds[0])], _BESIDE)
    framed = timed(_framing(runner), list(camera), _BESIDE) if len(camera) else None
    return Latency(
        batch=batch,
        settings=dict(runner.settings),
        first=first / 1e6,
        warm_up=warm_up + 1,
        settled=settled,
        infer=infer,
        resident=resident,
        framed=framed,
        camera=f"{camera[0].shape[1]}x{camera[0].shape[0]}" if len(camera) else None,
    )


def uses_gpu(runner: Runner) -> bool:
    """Whether a runner computes on a GPU, judged by its target and its runtime's settings."""
    told = " ".join(runner.settings.values()).lower()
    return runner.artefact.target.startswith("tensorrt") or any(name in told for name in ("gpu", "cuda", "tensorrt"))


def feeds_of(images: NDArray[np.uint8], batch: int) -> list[NDArray[np.uint8]]:
    """Contiguous arrays [batch, H, W, 3] in memory, as many as there are pictures; they wrap around."""
    order = np.arange(len(images))
    return [np.ascontiguousarray(images[np.take(order, range(n, n + batch), mode="wrap")]) for n in order]


def _framing(runner: Runner) -> Infer:
    framing = runner.artefact.input.framing

    def frame_and_infer(picture: NDArray[np.uint8]) -> Any:
        return runner.infer(framing.image(picture)[None])

    return frame_and_infer


def _warm_up(infer: Infer, feeds: list[NDArray[np.uint8]], advance: Callable[[int], None]) -> tuple[int, bool]:
    """(inferences, settled): windows of 20 until the medians of two in a row differ by less than 3 %."""
    times: list[int] = []
    begun = time.perf_counter()
    before = math.inf
    while True:
        for number in range(_WINDOW):
            start = time.perf_counter_ns()
            infer(feeds[(len(times) + number) % len(feeds)])
            times.append(time.perf_counter_ns() - start)
        advance(_WINDOW)
        median = float(np.median(times[-_WINDOW:]))
        if abs(median - before) < _SETTLED * before and before < math.inf:
            return len(times), True
        if time.perf_counter() - begun > _LONGEST_WARM_UP:
            return len(times), False
        before = median
