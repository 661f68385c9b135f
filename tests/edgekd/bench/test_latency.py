"""Timing of runners with a known latency, and what runs between the clock readings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.errors import DataError
from calibration.progress import Advance, Quiet
from edgekd.bench.latency import Latency, feeds_of, measure_latency
from edgekd.bench.streams import measure_throughput
from edgekd.bench.watch import Watch
from targets.input import Framing, InputSpec

PICTURES = np.random.default_rng(0).integers(0, 255, (5, 8, 10, 3), dtype=np.uint8)


class Sleeper:
    """Infers by busy-waiting, ten times as long for the first `cold` calls."""

    artefact: Any = SimpleNamespace(name="onnxruntime-fp32", target="onnxruntime", input=InputSpec(Framing(8, 10)))

    def __init__(self, milliseconds: float, cold: int = 0) -> None:
        self.settings: Any = {"threads": "1"}
        self.fed: list[bytes] = []
        self.shapes: set[tuple[int, ...]] = set()
        self._seconds, self._cold = milliseconds / 1000, cold

    def infer(self, images: NDArray[np.uint8]) -> None:
        self.fed.append(images.tobytes())
        self.shapes.add(images.shape)
        until = time.perf_counter() + self._seconds * (10 if len(self.fed) <= self._cold else 1)
        while time.perf_counter() < until:
            pass

    def __enter__(self) -> Sleeper:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Holder(Sleeper):
    """A runner whose copies take half of its time."""

    def hold(self, images: NDArray[np.uint8]) -> Callable[[], None]:
        until = self._seconds / 2

        def run() -> None:
            end = time.perf_counter() + until
            while time.perf_counter() < end:
                pass

        return run


def measure(runner: Any, **settings: Any) -> Latency:
    return measure_latency(runner, PICTURES, **{"seconds": 0, "minimum": 200, "progress": Quiet(), **settings})


def test_a_known_latency_is_found() -> None:
    found = measure(Sleeper(0.5), minimum=400)
    assert 0.5 <= found.infer.timing.least < 0.75  # a margin for a busy machine; the bench itself adds far less
    assert found.settings == {"threads": "1"} and found.batch == 1
    assert found.resident is None  # this runner cannot hold its input
    assert found.infer.grade.evidence and found.infer.conditions.readings >= 2


def test_without_copies_it_is_faster() -> None:
    found = measure(Holder(0.6))
    assert found.resident is not None
    assert found.resident.timing.least == pytest.approx(0.3, rel=0.3)
    assert found.infer.timing.least == pytest.approx(0.6, rel=0.3)


def test_the_figures_beside_the_first_take_two_seconds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.bench.latency._BESIDE", 0.05)
    found = measure(Holder(0.2), minimum=10, seconds=1)
    assert found.resident is not None
    assert found.resident.timing.seconds < found.infer.timing.seconds / 2  # 0.05 and 1 s, but on a quiet machine


def test_cold_inferences_are_warm_up_and_the_first_is_told() -> None:
    found = measure(Sleeper(0.3, cold=30))
    assert found.first >= 3
    assert found.warm_up > 40
    assert found.infer.timing.least < 1.5  # a cold one takes 3 ms


def test_a_runner_that_never_settles_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.bench.latency._LONGEST_WARM_UP", 0.05)
    runner = Sleeper(0.1)
    infer = runner.infer

    def slower(images: NDArray[np.uint8]) -> None:
        infer(images)
        time.sleep(0.0001 * len(runner.fed))

    runner.infer = slower  # type: ignore[method-assign]
    found = measure(runner, minimum=50)
    assert not found.settled
    assert found.infer.timing.blocks[-1] > 1.1 * found.infer.timing.blocks[0]
    assert found.infer.grade.letter != "A"
    assert any("not settled" in line for line in found.infer.grade.evidence)


def test_pictures_vary_and_are_fed_in_batches() -> None:
    runner = Sleeper(0)
    found = measure(runner, batch=4)
    assert runner.shapes == {(4, 8, 10, 3)} and found.batch == 4
    assert len(set(runner.fed)) == len(PICTURES)
    for number, feed in enumerate(feeds_of(PICTURES, 4)):
        assert np.array_equal(feed, [PICTURES[(number + place) % 5] for place in range(4)])
    large = Sleeper(0)
    measure(large, batch=9)  # more than the number of pictures
    assert large.shapes == {(9, 8, 10, 3)}


def test_camera_pictures_are_framed_within_the_third_figure() -> None:
    runner = Sleeper(0.2)
    camera = list(np.random.default_rng(1).integers(0, 255, (3, 480, 640, 3), dtype=np.uint8))
    found = measure(runner, camera=camera, minimum=100)
    assert found.camera == "640x480" and runner.shapes == {(1, 8, 10, 3)}
    assert found.framed is not None
    assert found.framed.timing.p50 > found.infer.timing.least


def test_nothing_is_shown_while_sampling() -> None:
    class Watching(Quiet):
        shown = False

        @contextmanager
        def task(self, label: str, total: int | None = None) -> Iterator[Advance]:
            Watching.shown = True
            yield lambda done: None
            Watching.shown = False

    runner = Sleeper(0)
    seen: list[bool] = []
    runner.infer = lambda images: seen.append(Watching.shown)  # type: ignore[method-assign]
    measure(runner, progress=Watching())
    assert set(seen[-200:]) == {False}


@pytest.mark.parametrize("settings", [{"minimum": 0}, {"batch": 0}, {"seconds": -1}, {"seconds": float("nan")}])
def test_impossible_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        measure(Sleeper(0), **settings)


def test_one_repeated_picture_is_refused() -> None:
    for pictures in (PICTURES[:1], np.repeat(PICTURES[:1], 5, axis=0)):
        with pytest.raises(DataError, match="differ"):
            measure_latency(Sleeper(0), pictures, progress=Quiet())  # type: ignore[arg-type]


class Waiter(Sleeper):
    """Waits without keeping a core busy, like a runtime on a GPU: streams overlap on any machine."""

    def infer(self, images: NDArray[np.uint8]) -> None:
        time.sleep(0.01)


def test_streams_overlap_and_their_pictures_are_counted() -> None:
    feeds = [PICTURES[:2]]  # a batch of two
    one = measure_throughput(lambda: Waiter(0), feeds, 1, 0.3, 4)  # type: ignore[arg-type, return-value]
    three = measure_throughput(lambda: Waiter(0), feeds, 3, 0.3, 4)  # type: ignore[arg-type, return-value]
    assert one.pictures_per_second == pytest.approx(200, rel=0.25)
    assert three.pictures_per_second / one.pictures_per_second == pytest.approx(3, rel=0.3)
    assert (three.streams, three.measured.timing.samples > 30) == (3, True)


def test_streams_begin_with_different_pictures_and_take_them_in_turn() -> None:
    class Noting(Waiter):
        def infer(self, images: NDArray[np.uint8]) -> None:
            self.fed.append(images.tobytes())
            time.sleep(0.005)

    feeds, opened = [np.full((1, 2, 2, 3), number, np.uint8) for number in range(3)], []
    measure_throughput(lambda: opened.append(Noting(0)) or opened[-1], feeds, 2, 0.1, 4)  # type: ignore[arg-type, func-returns-value, return-value]
    for number, runner in enumerate(opened):
        after_opening = [fed[0] for fed in runner.fed[1:7]]
        assert after_opening == [(number + turn) % 3 for turn in range(6)]


def test_what_is_still_under_way_is_not_counted() -> None:
    class Slow(Waiter):
        def infer(self, images: NDArray[np.uint8]) -> None:
            time.sleep(0.28)

    found = measure_throughput(lambda: Slow(0), [PICTURES[:1]], 4, 1.0, 4)  # type: ignore[arg-type, return-value]
    # Four streams of 1 / 0.28 each; counting those that end after the clock stops would give up to 18.
    assert found.pictures_per_second <= 1.03 * 4 / 0.28


def test_no_stream_goes_on_once_the_measurement_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its runner is closed by then, and a native runtime would read freed memory."""

    def interrupt(self: Watch) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Watch, "look", interrupt)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        measure_throughput(lambda: Waiter(0), [PICTURES[:1]], 2, 5.0, 4)  # type: ignore[arg-type, return-value]
    assert threading.active_count() == before


def test_an_error_in_a_stream_ends_all_and_is_told() -> None:
    class Failing(Waiter):
        def infer(self, images: NDArray[np.uint8]) -> None:
            self.fed.append(b"")
            if len(self.fed) > 5:
                raise DataError("broken", fix="mend")

    with pytest.raises(DataError, match="broken"):
        measure_throughput(lambda: Failing(0), [PICTURES[:1]], 2, 5, 4)  # type: ignore[arg-type, return-value]
