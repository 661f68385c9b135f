"""How long one inference takes, as the user's own loop would see it.

Only `infer` stands between the two readings of the clock. Everything else (feeds, the array of samples) is made before,
the garbage collector is off, and nothing is drawn on the screen while samples are taken. See README.md for the rules.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError
from calibration.progress import Progress
from targets.base import Runner

__all__ = ["Latency", "measure_latency"]

_WINDOW = 20  # inferences in a window of the warm-up
_SETTLED = 0.03  # two windows in a row whose medians differ by less: warm
_LONGEST_WARM_UP = 10.0  # seconds
_CHUNK = 50  # samples between looks at the time that has passed
_BLOCKS = 10  # parts of the measurement whose medians are compared
_MOST = 100_000  # samples

Infer = Callable[[NDArray[np.uint8]], Any]


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one inference of `batch` pictures, from `samples` of them."""

    batch: int
    samples: int
    p50: float
    p90: float
    p99: float
    least: float
    mean: float
    cpu: float  # CPU time of the whole process per inference, all threads together
    first: float  # the very first inference after opening
    warm_up: int  # inferences before the first sample
    settled: bool  # did the warm-up end by its rule, not by its time limit?
    seconds: float  # how long sampling took
    blocks: tuple[float, ...]  # medians of ten successive parts: a slope is throttling, a jump a disturbance
    settings: Mapping[str, str]  # what the runtime was told: threads, provider
    framed_p50: float | None = None  # with a camera's picture framed for the network before each inference
    framed_p90: float | None = None
    camera: str | None = None  # size of the camera's pictures

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Latency:
        """The inverse of `to_json`. Raises KeyError or TypeError for anything else."""
        fields = {name: value[name] for name in cls.__dataclass_fields__}
        return cls(**{**fields, "blocks": tuple(fields["blocks"])})


def measure_latency(
    runner: Runner,
    images: NDArray[np.uint8],
    *,
    minimum: int = 200,
    seconds: float = 5.0,
    batch: int = 1,
    camera: Sequence[NDArray[np.uint8]] = (),
    progress: Progress,
) -> Latency:
    """Time `runner.infer` on varied pictures uint8 [N, H, W, 3]: at least `minimum` times and `seconds` seconds.

    With `camera`, pictures uint8 [h, w, 3] as they come from one, framing and inference together are timed as well.
    Raises DataError for pictures that are all the same or settings that cannot be meant, and what `infer` raises.
    """
    if minimum < 1 or batch < 1 or not (math.isfinite(seconds) and seconds >= 0):
        raise DataError(
            f"A latency of {minimum} samples, {seconds} s and batches of {batch} cannot be measured",
            fix="Give at least 1 sample, 1 picture and 0 seconds",
        )
    if len(images) < 2 or (images == images[0]).all():
        raise DataError(
            "Latency is measured on pictures that differ: on one repeated picture caches and branches tell lies",
            fix="Give at least two different pictures",
        )
    feeds = _feeds(images, batch)
    start = time.perf_counter_ns()
    runner.infer(feeds[0])
    first = time.perf_counter_ns() - start
    with progress.task("Warming up", total=None) as advance:
        warm_up, settled = _warm_up(runner.infer, feeds, advance)
    times, cpu, passed = _sample(runner.infer, feeds, minimum, seconds)
    framed = _sample_framed(runner, camera, minimum, min(seconds, 2.0)) if len(camera) else None
    milliseconds = times / 1e6
    p50, p90, p99 = np.percentile(milliseconds, (50, 90, 99)).tolist()
    return Latency(
        batch=batch,
        samples=len(times),
        p50=p50,
        p90=p90,
        p99=p99,
        least=float(milliseconds.min()),
        mean=float(milliseconds.mean()),
        cpu=cpu / len(times) / 1e6,
        first=first / 1e6,
        warm_up=warm_up + 1,
        settled=settled,
        seconds=passed,
        blocks=tuple(float(np.median(part)) for part in np.array_split(milliseconds, min(_BLOCKS, len(times)))),
        settings=dict(runner.settings),
        framed_p50=None if framed is None else float(np.median(framed) / 1e6),
        framed_p90=None if framed is None else float(np.percentile(framed, 90) / 1e6),
        camera=f"{camera[0].shape[0]}x{camera[0].shape[1]}" if len(camera) else None,
    )


def _feeds(images: NDArray[np.uint8], batch: int) -> list[NDArray[np.uint8]]:
    """Contiguous arrays [batch, H, W, 3] in memory, as many as there are pictures; they wrap around."""
    order = np.arange(len(images))
    return [np.ascontiguousarray(images[np.take(order, range(n, n + batch), mode="wrap")]) for n in order]


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


def _sample(
    infer: Infer, feeds: list[NDArray[np.uint8]], minimum: int, seconds: float
) -> tuple[NDArray[np.float64], int, float]:
    """(nanoseconds of each inference, CPU nanoseconds of all together, seconds passed)."""
    clock = time.perf_counter_ns
    times = np.zeros(_MOST, np.int64)
    done, varied = 0, len(feeds)
    with _no_collector():
        cpu, begun = time.process_time_ns(), clock()
        limit = begun + int(seconds * 1e9)
        while done < _MOST and (done < minimum or clock() < limit):
            for place in range(done, min(done + _CHUNK, _MOST)):
                feed = feeds[place % varied]
                start = clock()
                infer(feed)
                times[place] = clock() - start
            done = min(done + _CHUNK, _MOST)
        passed, cpu = clock() - begun, time.process_time_ns() - cpu
    return times[:done].astype(np.float64), cpu, passed / 1e9


def _sample_framed(
    runner: Runner, camera: Sequence[NDArray[np.uint8]], minimum: int, seconds: float
) -> NDArray[np.float64]:
    framing = runner.artefact.input.framing

    def frame_and_infer(picture: NDArray[np.uint8]) -> None:
        runner.infer(framing.image(picture)[None])

    return _sample(frame_and_infer, list(camera), minimum, seconds)[0]


@contextmanager
def _no_collector() -> Iterator[None]:
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
