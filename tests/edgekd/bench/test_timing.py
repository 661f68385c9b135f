"""Timing a call: samples, the tail and its confidence interval, CPU time beside wall time, nothing in between."""

from __future__ import annotations

import gc
import time
from typing import Any

import numpy as np
import pytest

from edgekd.bench.timing import ENOUGH, p99_interval, time_calls


def spin(milliseconds: float) -> Any:
    def call(feed: object) -> None:
        until = time.perf_counter() + milliseconds / 1000
        while time.perf_counter() < until:
            pass

    return call


def test_a_known_latency_is_found() -> None:
    found = time_calls(spin(0.5), [0], minimum=400, seconds=0)
    assert found.samples >= 400
    assert 0.5 <= found.least < 0.75
    assert found.least <= found.p50 <= found.p90 <= found.p99
    assert found.p99_low <= found.p99 and found.p99_high is not None and found.p99 <= found.p99_high


def test_the_interval_of_p99_holds_it_nineteen_times_of_twenty() -> None:
    """On exponential samples, whose 99th percentile is ln 100."""
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        low, high = p99_interval(generator.exponential(size=600))
        assert high is not None
        held += low <= np.log(100) <= high
    assert held >= 0.93 * 400


def test_too_few_samples_do_not_bound_p99() -> None:
    values = np.arange(1.0, ENOUGH)
    assert p99_interval(values)[1] is None
    assert p99_interval(np.arange(1.0, ENOUGH + 1))[1] == ENOUGH
    assert p99_interval(np.array([3.0])) == (3.0, None)


def test_it_goes_on_for_the_seconds_asked() -> None:
    found = time_calls(spin(0.2), [0], minimum=1, seconds=0.3)
    assert 0.25 <= found.seconds < 3 and found.samples > 50


def test_cpu_time_stands_beside_wall_time() -> None:
    for call, least, most in ((spin(0.3), 0.2, 1.1), (lambda feed: time.sleep(0.001), 0, 0.3)):
        found = time_calls(call, [0], minimum=200, seconds=0)
        assert least < found.cpu / found.least < most


def test_feeds_take_turns_the_collector_rests_and_looks_come_between_calls() -> None:
    log: list[str] = []

    def call(feed: str) -> None:
        log.append(feed)
        assert not gc.isenabled()
        time.sleep(0.01)

    time_calls(call, ["a", "b"], minimum=60, seconds=0, between=lambda: log.append("look"))
    fed = [entry for entry in log if entry != "look"]
    assert fed[::2] == ["a"] * len(fed[::2]) and fed[1::2] == ["b"] * len(fed[1::2]) and len(fed) >= 60
    assert 2 <= log.count("look") < len(fed)  # a chunk lasts a quarter of a second at most
    assert gc.isenabled()


def test_an_error_leaves_the_collector_on() -> None:
    def fail(feed: object) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        time_calls(fail, [0], minimum=1, seconds=0)
    assert gc.isenabled()
