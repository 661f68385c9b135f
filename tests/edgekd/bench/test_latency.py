"""Latency of runners whose true latency is known, and what is never part of it."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.errors import DataError
from calibration.progress import Advance, Quiet
from edgekd.bench.latency import Latency, measure_latency
from targets.input import Framing, InputSpec

PICTURES = np.random.default_rng(0).integers(0, 255, (6, 8, 10, 3), dtype=np.uint8)


class Sleeper:
    """Takes `milliseconds` for each inference, and longer for the first ones."""

    settings = {"threads": "1"}  # noqa: RUF012

    def __init__(self, milliseconds: float, *, cold: int = 0) -> None:
        self.artefact = SimpleNamespace(input=InputSpec(Framing(8, 10)))
        self.fed: list[bytes] = []
        self.shapes: set[tuple[int, ...]] = set()
        self.collecting: set[bool] = set()
        self._seconds, self._cold = milliseconds / 1000, cold

    def infer(self, images: NDArray[np.uint8]) -> None:
        self.fed.append(images.tobytes())
        self.shapes.add(images.shape)
        self.collecting.add(gc.isenabled())
        until = time.perf_counter() + self._seconds * (10 if len(self.fed) <= self._cold else 1)
        while time.perf_counter() < until:
            pass


def measure(runner: Any, **settings: Any) -> Latency:
    return measure_latency(runner, PICTURES, **{"seconds": 0, "progress": Quiet(), **settings})


def test_a_known_latency_is_found() -> None:
    found = measure(Sleeper(0.5), minimum=400)
    assert found.samples >= 400
    assert found.least == pytest.approx(0.5, rel=0.05)
    assert 0.5 <= found.p50 < 0.75  # the machine may be busy; the bench itself adds no such thing
    assert found.least <= found.p50 <= found.p90 <= found.p99
    assert found.settings == {"threads": "1"} and found.batch == 1


def test_cold_inferences_are_warm_up_and_the_first_is_told() -> None:
    found = measure(Sleeper(0.3, cold=30))
    assert found.first >= 3
    assert found.warm_up > 40
    assert found.p50 < 1.5  # of 3 ms when cold


def test_a_runner_that_never_settles_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.bench.latency._LONGEST_WARM_UP", 0.05)
    runner = Sleeper(0.1)
    infer = runner.infer

    def slower(images: NDArray[np.uint8]) -> None:
        infer(images)
        time.sleep(0.0001 * len(runner.fed))

    runner.infer = slower  # type: ignore[method-assign]
    found = measure(runner, minimum=1)
    assert not found.settled
    assert found.blocks[-1] > 1.1 * found.blocks[0]


def test_pictures_vary_and_are_fed_in_batches() -> None:
    runner = Sleeper(0)
    found = measure(runner, batch=4)
    assert runner.shapes == {(4, 8, 10, 3)} and found.batch == 4
    assert len(set(runner.fed)) == len(PICTURES)
    large = Sleeper(0)
    measure(large, batch=9)  # more than there are pictures
    assert large.shapes == {(9, 8, 10, 3)}


def test_it_goes_on_for_the_seconds_asked() -> None:
    found = measure(Sleeper(0.2), minimum=1, seconds=0.3)
    assert 0.3 <= found.seconds < 3 and found.samples > 100


def test_cpu_time_stands_beside_wall_time() -> None:
    idle: Any = SimpleNamespace(infer=lambda images: time.sleep(0.001), settings={})
    for runner, least, most in ((Sleeper(0.3), 0.2, 1.1), (idle, 0, 0.2)):
        found = measure(runner)
        assert least < found.cpu / found.least < most


def test_camera_pictures_are_framed_within_the_second_figure() -> None:
    runner = Sleeper(0.2)
    camera = list(np.random.default_rng(1).integers(0, 255, (3, 480, 640, 3), dtype=np.uint8))
    found = measure(runner, camera=camera, minimum=100)
    assert found.camera == "480x640" and runner.shapes == {(1, 8, 10, 3)}
    assert found.framed_p50 is not None and found.framed_p90 is not None
    assert found.framed_p90 >= found.framed_p50 > found.least


def test_nothing_is_shown_and_nothing_collected_while_sampling() -> None:
    class Watch(Quiet):
        shown = False

        @contextmanager
        def task(self, label: str, total: int | None = None) -> Iterator[Advance]:
            Watch.shown = True
            yield lambda done: None
            Watch.shown = False

    runner = Sleeper(0)
    seen: list[tuple[bool, bool]] = []
    runner.infer = lambda images: seen.append((Watch.shown, gc.isenabled()))  # type: ignore[method-assign]
    measure(runner, progress=Watch())
    assert set(seen[-200:]) == {(False, False)}
    assert gc.isenabled()


def test_an_error_of_the_runner_leaves_the_collector_on() -> None:
    def fail(images: NDArray[np.uint8]) -> None:
        calls.append(1)
        if len(calls) > 60:
            raise DataError("broken", fix="mend")

    calls: list[int] = []
    runner: Any = SimpleNamespace(infer=fail, settings={})
    with pytest.raises(DataError, match="broken"):
        measure(runner)
    assert gc.isenabled()


@pytest.mark.parametrize("settings", [{"minimum": 0}, {"batch": 0}, {"seconds": -1}, {"seconds": float("nan")}])
def test_impossible_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        measure(Sleeper(0), **settings)


def test_one_repeated_picture_is_refused() -> None:
    for pictures in (PICTURES[:1], np.repeat(PICTURES[:1], 5, axis=0)):
        with pytest.raises(DataError, match="differ"):
            measure_latency(Sleeper(0), pictures, progress=Quiet())  # type: ignore[arg-type]
