"""How far a latency can be trusted: A stable, B noisy, C disturbed or throttled, with the evidence in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgekd.bench.conditions import Change
from edgekd.bench.latency import Latency

__all__ = ["Grade", "grade"]

Letter = Literal["A", "B", "C"]


@dataclass(frozen=True)
class Grade:
    """A letter and why. `unknown` lists what could not be watched: no grade is better than what was seen."""

    letter: Letter
    evidence: tuple[str, ...]
    unknown: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Grade:
        """The inverse of `to_json`. Raises KeyError or TypeError for anything else."""
        return cls(value["letter"], tuple(value["evidence"]), tuple(value["unknown"]))


def grade(latency: Latency, conditions: Change, usable_cores: float) -> Grade:
    """Grade a latency by its own samples and by what happened while they were taken. The rules are in README.md."""
    disturbed = [*_slowed(latency), *_throttled(conditions), *_crowded(latency, conditions, usable_cores)]
    noisy = [*_spread(latency), *_wavering(latency), *([] if disturbed else _company(conditions))]
    letter: Letter = "C" if disturbed else "B" if noisy else "A"
    calm = [
        f"{latency.samples} samples, p90 {_percent(latency.p90 / latency.p50)} above the median, "
        f"parts of the measurement within {_percent(max(latency.blocks) / min(latency.blocks))}"
    ]
    return Grade(letter, tuple([*disturbed, *noisy] or calm), tuple(_unknown(conditions)))


def _slowed(latency: Latency) -> list[str]:
    found = []
    third = max(len(latency.blocks) // 3, 1)
    early, late = min(latency.blocks[:third]), min(latency.blocks[-third:])
    if late > 1.1 * early:
        found.append(f"slowed down by {_percent(late / early)} from the first third of the measurement to the last")
    worst = max(latency.blocks) / min(latency.blocks)
    if worst > 1.25:
        found.append(f"a tenth of the measurement was {_percent(worst)} slower than the fastest tenth")
    return found


def _throttled(conditions: Change) -> list[str]:
    found = []
    if conditions.throttled:
        found.append(f"throttled {conditions.throttled:.0f} times by heat, power or the container's CPU quota")
    before, after = conditions.clock_before_mhz, conditions.clock_after_mhz
    if before and after and after < 0.9 * before:
        found.append(f"the clock fell from {before:.0f} to {after:.0f} MHz")
    return found


def _crowded(latency: Latency, conditions: Change, usable_cores: float) -> list[str]:
    """Were there too few idle cores left for the inference itself?"""
    if conditions.others is None:
        return []
    needed = min(max(latency.cpu / latency.mean, 1.0), usable_cores)
    if conditions.others + needed > usable_cores + 0.25:
        return [
            f"other processes kept {conditions.others:.1f} of {usable_cores:g} cores busy, "
            f"and the inference needs {needed:.1f}"
        ]
    return []


def _spread(latency: Latency) -> list[str]:
    found = []
    if latency.p90 > 1.15 * latency.p50:
        found.append(f"p90 is {_percent(latency.p90 / latency.p50)} above the median")
    if latency.p99 > 2 * latency.p50:
        found.append(f"p99 is {latency.p99 / latency.p50:.1f} times the median")
    return found


def _wavering(latency: Latency) -> list[str]:
    found = []
    if not latency.settled:
        found.append(f"had not settled after {latency.warm_up} inferences of warm-up")
    if latency.samples < 200:
        found.append(f"only {latency.samples} samples")
    spread = max(latency.blocks) / min(latency.blocks)
    if 1.08 < spread <= 1.25:
        found.append(f"parts of the measurement differ by {_percent(spread)}")
    return found


def _company(conditions: Change) -> list[str]:
    found = []
    if conditions.others is not None and conditions.others > 0.25:
        found.append(f"other processes kept {conditions.others:.1f} cores busy")
    if conditions.stolen is not None and conditions.stolen > 0.05:
        found.append(f"the host kept {conditions.stolen:.2f} cores to itself")
    slow = [governor for governor in conditions.governors if governor in ("powersave", "ondemand", "conservative")]
    if slow and conditions.clock_after_mhz is None:
        found.append(f"the clock may change: governor {', '.join(slow)}")
    return found


def _unknown(conditions: Change) -> list[str]:
    readings = {
        "clock": conditions.clock_after_mhz,
        "temperature": conditions.temperature_after,
        "throttling": conditions.throttled,
        "load by others": conditions.others,
    }
    return [name for name, value in readings.items() if value is None]


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):.0f} %"
