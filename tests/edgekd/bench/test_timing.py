"""Timing a call: samples, the tail and its confidence interval, CPU time beside wall time, nothing in between."""

from __future__ import annotations

import gc
import time
from typing import Any

import numpy as np
import pytest

from edgekd.bench.timing import ENOUGH, p99_interval, summarise_times, time_calls


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


def test_a_slow_call_is_not_made_as_often_as_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.bench.timing._LONGEST", 0.1)
    assert time_calls(spin(1), [0], minimum=1000, seconds=0).samples < 300
    assert time_calls(spin(1), [0], minimum=1, seconds=0.3).seconds > 0.25  # seconds that were asked for count


def test_more_seconds_than_a_clock_has_end_with_the_most_samples_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekd.bench.timing._MOST", 500)
    assert time_calls(spin(0), [0], minimum=1, seconds=1e300).samples == 500


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


def test_the_figures_of_known_times_are_those_worked_out_by_hand() -> None:
    """1 to 1,000 ms: each tenth of the measurement holds a hundred of them, from the slowest to the fastest."""
    milliseconds = np.arange(1000, 0, -1).reshape(10, 100)
    milliseconds[0, 0] = 3000  # one call that was disturbed: no median shows it
    found = summarise_times(milliseconds.ravel() * 1_000_000, cpu=250_000 * 1_000_000, seconds=500.0)
    assert (found.samples, found.least, found.seconds) == (1000, 1, 500)
    assert (found.p50, found.p90, found.p99) == pytest.approx((500.5, 900.1, 990.01))
    assert found.mean == pytest.approx((500_500 + 2000) / 1000)
    assert (found.cpu, found.cores) == (250, 0.5)
    assert found.blocks == tuple(50.5 + 100 * block for block in reversed(range(10)))
