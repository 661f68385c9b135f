"""Which figure gets which grade, and why."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from edgekd.bench.conditions import Conditions
from edgekd.bench.grade import Grade, grade
from edgekd.bench.timing import ENOUGH, Timing
from edgekd.plain import read_plain

CALM = Conditions(
    seconds=5,
    readings=20,
    load=0.9,
    others=0.02,
    stolen=0.0,
    governors=("performance",),
    clock_early_mhz=2000,
    clock_late_mhz=2000,
    clock_limit_mhz=2000,
    gpu_clock_early_mhz=None,
    gpu_clock_late_mhz=None,
    temperature=50,
    warmed=5,
    hottest="cpu",
    throttled=0,
    held_back=(),
    on_battery=False,
    watts={"RAPL package-0": 12},
    joules=60,
    energy_from="RAPL package-0",
)
STEADY = Timing(
    samples=500,
    p50=10,
    p90=10.4,
    p99=11,
    p99_low=10.8,
    p99_high=11.5,
    least=9.8,
    mean=10,
    cpu=10,
    seconds=5,
    blocks=(10, 10.1, 10, 10, 9.9, 10, 10.1, 10, 10, 10),
)


def test_a_steady_latency_on_a_calm_machine_is_a() -> None:
    found = grade(STEADY, CALM, 4)
    assert (found.letter, found.unknown) == ("A", ())
    assert "500 samples" in found.evidence[0]


@pytest.mark.parametrize(
    ("timing", "conditions", "letter", "said"),
    [
        ({"p90": 13.0}, {}, "B", "p90 is 30 % above"),
        ({"p99": 25.0}, {}, "B", "p99 is 2.5 times"),
        ({"samples": 50}, {}, "B", "only 50 samples"),
        ({"blocks": (10, 11.0, 10, 10)}, {}, "B", "differ by 10 %"),
        ({"blocks": (*[10] * 9, 11.5)}, {}, "B", "differ by 15 %"),  # one slow part at the end is no slope
        ({}, {"others": 0.6}, "B", "0.6 cores busy"),
        ({}, {"stolen": 0.3}, "B", "took 0.30 cores away"),
        ({}, {"governors": ("powersave",), "clock_late_mhz": None}, "B", "governor powersave"),
        ({}, {"on_battery": True}, "B", "on battery"),
        ({"blocks": (10, 10, 10, 10.5, 11, 11.5, 11.5, 12, 12, 12)}, {}, "C", "slowed down by 20 %"),
        ({"blocks": (10, 10, 14, 10, 10, 10)}, {}, "C", "40 % slower"),
        ({}, {"throttled": 3}, "C", "throttled 3 times"),
        ({}, {"held_back": ("gpu-throttle-alert",)}, "C", "throttled: gpu-throttle-alert"),
        ({}, {"clock_late_mhz": 1500}, "C", "the clock fell from 2000 to 1500 MHz"),
        ({}, {"gpu_clock_early_mhz": 900, "gpu_clock_late_mhz": 600}, "C", "the GPU's clock fell from 900 to 600"),
        ({}, {"others": 3.6}, "C", "3.6 of 4 cores busy"),
    ],
)
def test_what_lowers_a_grade(timing: dict, conditions: dict, letter: str, said: str) -> None:  # type: ignore[type-arg]
    found = grade(replace(STEADY, **timing), replace(CALM, **conditions), 4)
    assert found.letter == letter
    assert said in "; ".join(found.evidence)


def test_what_was_known_beforehand_is_evidence() -> None:
    found = grade(STEADY, CALM, 4, ("had not settled after 41 warm-up inferences",))
    assert found.letter == "B" and "not settled after 41" in found.evidence[0]


def test_two_threads_need_two_idle_cores() -> None:
    busy = replace(CALM, others=2.6)
    assert grade(STEADY, busy, 4).letter == "B"
    assert grade(replace(STEADY, cpu=20.2), busy, 4).letter == "C"


def test_what_cannot_be_watched_is_listed() -> None:
    blind = replace(CALM, clock_late_mhz=None, temperature=None, throttled=None, others=None, joules=None)
    found = grade(STEADY, blind, 4)
    assert found.letter == "A"
    assert found.unknown == ("clock", "temperature", "throttling", "load by others", "energy")
    assert read_plain(Grade, asdict(found)) == found


def test_a_busy_host_leaves_a_container_its_share() -> None:
    busy = replace(CALM, others=6.0)
    assert grade(STEADY, busy, 2.0, room=64).letter == "B"  # other programs, but room for both
    crowded = grade(STEADY, replace(CALM, others=63.8), 2.0, room=64)
    assert crowded.letter == "C" and "63.8 of 64 cores" in crowded.evidence[0]


@pytest.mark.parametrize(
    "of_the_gpu", [{"gpu_clock_early_mhz": 1410, "gpu_clock_late_mhz": 210}, {"held_back": ("GPU: power cap",)}]
)
def test_what_befalls_a_gpu_counts_where_it_is_used(of_the_gpu: dict[str, object]) -> None:
    """An idle card's clock follows what is on the screen."""
    assert grade(STEADY, replace(CALM, **of_the_gpu), 4).letter == "C"  # type: ignore[arg-type]
    assert grade(STEADY, replace(CALM, **of_the_gpu), 4, gpu=False).letter == "A"  # type: ignore[arg-type]


@pytest.mark.parametrize("timing", [{"p90": 11.4}, {"p99": 19.9}, {"samples": ENOUGH}, {"blocks": (10, 10.7)}])
def test_just_within_the_limits_is_a(timing: dict[str, object]) -> None:
    assert grade(replace(STEADY, **timing), CALM, 4).letter == "A"  # type: ignore[arg-type]


def test_inference_needs_no_more_cores_than_its_quota_grants() -> None:
    """Four threads under a quota of two cores: two idle ones are enough."""
    found = grade(replace(STEADY, cpu=40.4), replace(CALM, others=61.9), 2.0, room=64)
    assert found.letter == "B"
