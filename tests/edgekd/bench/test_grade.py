"""Which latency gets which grade, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekd.bench.conditions import Change
from edgekd.bench.grade import Grade, grade
from edgekd.bench.latency import Latency

CALM = Change(
    seconds=5,
    load_before=0.1,
    load_after=0.9,
    others=0.02,
    stolen=0.0,
    clock_before_mhz=2000,
    clock_after_mhz=2000,
    gpu_clock_mhz=None,
    temperature_before=45,
    temperature_after=50,
    throttled=0,
    governors=("performance",),
)
STEADY = Latency(
    batch=1,
    samples=500,
    p50=10,
    p90=10.4,
    p99=11,
    least=9.8,
    mean=10.1,
    cpu=10,
    first=50,
    warm_up=41,
    settled=True,
    seconds=5,
    blocks=(10, 10.1, 10, 10, 9.9, 10, 10.1, 10, 10, 10),
    settings={},
)


def test_a_steady_latency_on_a_calm_machine_is_a() -> None:
    found = grade(STEADY, CALM, 4)
    assert (found.letter, found.unknown) == ("A", ())
    assert "500 samples" in found.evidence[0]


@pytest.mark.parametrize(
    ("latency", "conditions", "letter", "said"),
    [
        ({"p90": 13.0}, {}, "B", "p90 is 30 % above"),
        ({"p99": 25.0}, {}, "B", "p99 is 2.5 times"),
        ({"settled": False}, {}, "B", "not settled after 41"),
        ({"samples": 50}, {}, "B", "only 50 samples"),
        ({"blocks": (10, 11.0, 10, 10)}, {}, "B", "differ by 10 %"),
        ({}, {"others": 0.6}, "B", "0.6 cores busy"),
        ({}, {"stolen": 0.3}, "B", "0.30 cores to itself"),
        ({}, {"governors": ("powersave",), "clock_after_mhz": None}, "B", "governor powersave"),
        ({"blocks": (10, 10, 10, 10.5, 11, 11.5, 11.5, 12, 12, 12)}, {}, "C", "slowed down by 20 %"),
        ({"blocks": (10, 10, 14, 10, 10, 10)}, {}, "C", "40 % slower"),
        ({}, {"throttled": 3}, "C", "throttled 3 times"),
        ({}, {"clock_after_mhz": 1500}, "C", "from 2000 to 1500 MHz"),
        ({}, {"others": 3.6}, "C", "3.6 of 4 cores busy"),
    ],
)
def test_what_lowers_a_grade(latency: dict, conditions: dict, letter: str, said: str) -> None:  # type: ignore[type-arg]
    found = grade(replace(STEADY, **latency), replace(CALM, **conditions), 4)
    assert found.letter == letter
    assert said in "; ".join(found.evidence)


def test_two_threads_need_two_idle_cores() -> None:
    busy = replace(CALM, others=2.6)
    assert grade(STEADY, busy, 4).letter == "B"
    assert grade(replace(STEADY, cpu=20.2), busy, 4).letter == "C"


def test_what_cannot_be_watched_is_listed() -> None:
    blind = replace(CALM, clock_after_mhz=None, temperature_after=None, throttled=None, others=None)
    found = grade(STEADY, blind, 4)
    assert found.letter == "A" and found.unknown == ("clock", "temperature", "throttling", "load by others")
    assert Grade.from_json(found.to_json()) == found
