"""How far a figure can be trusted: A stable, B noisy, C disturbed or throttled, with the evidence in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from calibration.wording import counted
from edgekd.bench.conditions import Conditions
from edgekd.bench.timing import ENOUGH, Timing

__all__ = ["Grade", "Letter", "grade"]

Letter = Literal["A", "B", "C"]


@dataclass(frozen=True)
class Grade:
    """A letter and why. `unknown` lists what could not be watched: no grade is better than what was seen."""

    letter: Letter
    evidence: tuple[str, ...]
    unknown: tuple[str, ...]


def grade(
    timing: Timing,
    conditions: Conditions,
    usable_cores: float,
    problems: Sequence[str] = (),
    *,
    room: float | None = None,
    gpu: bool = True,
) -> Grade:
    """Grade a timing by its own samples and by what happened while they were taken. The rules are in README.md.

    `room` is the number of cores that the process may be scheduled on, where a container's quota grants it only
    `usable_cores` of them. `problems` were seen before the first sample, such as a warm-up that did not settle; with
    any of them, the grade is B at best. The state of the GPU counts only if `gpu` says that it is used.
    """
    disturbed = [
        *_slowed(timing),
        *_throttled(conditions, gpu),
        *_crowded(timing, conditions, usable_cores, room or usable_cores),
    ]
    noisy = [*problems, *_spread(timing), *_wavering(timing), *([] if disturbed else _company(conditions))]
    letter: Letter = "C" if disturbed else "B" if noisy else "A"
    calm = [
        f"{counted(timing.samples, 'sample')}, p90 {_percent(timing.p90 / timing.p50)} above the median, "
        f"parts of the measurement within {_percent(max(timing.blocks) / min(timing.blocks))}"
    ]
    return Grade(letter, tuple([*disturbed, *noisy] or calm), tuple(_unknown(conditions)))


def _slowed(timing: Timing) -> list[str]:
    found = []
    third = max(len(timing.blocks) // 3, 1)
    early, late = min(timing.blocks[:third]), min(timing.blocks[-third:])
    if late > 1.1 * early:
        found.append(f"slowed down by {_percent(late / early)} from the first to the last third of the measurement")
    worst = max(timing.blocks) / min(timing.blocks)
    if worst > 1.25:
        found.append(f"a tenth of the measurement was {_percent(worst)} slower than the fastest tenth")
    return found


def _throttled(conditions: Conditions, gpu: bool) -> list[str]:
    found = []
    if conditions.throttled:
        found.append(
            f"throttled {counted(round(conditions.throttled), 'time')} by heat, power or the container's CPU quota"
        )
    if held_back := [what for what in conditions.held_back if gpu or not what.lower().startswith("gpu")]:
        found.append(f"throttled: {', '.join(held_back)}")
    clocks = {"the clock": (conditions.clock_early_mhz, conditions.clock_late_mhz)}
    if gpu:
        clocks["the GPU's clock"] = (conditions.gpu_clock_early_mhz, conditions.gpu_clock_late_mhz)
    for name, (early, late) in clocks.items():
        if early and late and late < 0.9 * early:
            found.append(f"{name} fell from {early:.0f} to {late:.0f} MHz")
    return found


def _crowded(timing: Timing, conditions: Conditions, usable_cores: float, room: float) -> list[str]:
    """Evidence that too few idle cores were left for the inference itself."""
    if conditions.others is None:
        return []
    needed = min(max(timing.cores, 1.0), usable_cores)
    if conditions.others + needed > room + 0.25:
        return [
            f"other processes kept {conditions.others:.1f} of {room:g} cores busy, but inference needs {needed:.1f}"
        ]
    return []


def _spread(timing: Timing) -> list[str]:
    found = []
    if timing.p90 > 1.15 * timing.p50:
        found.append(f"p90 is {_percent(timing.p90 / timing.p50)} above the median")
    if timing.p99 > 2 * timing.p50:
        found.append(f"p99 is {timing.p99 / timing.p50:.1f} times the median")
    return found


def _wavering(timing: Timing) -> list[str]:
    found = []
    if timing.samples < ENOUGH:
        found.append(f"only {counted(timing.samples, 'sample')}: {ENOUGH} are needed to bound p99")
    spread = max(timing.blocks) / min(timing.blocks)
    if 1.08 < spread <= 1.25:
        found.append(f"parts of the measurement differ by {_percent(spread)}")
    return found


def _company(conditions: Conditions) -> list[str]:
    found = []
    if conditions.others is not None and conditions.others > 0.25:
        found.append(f"other processes kept {conditions.others:.1f} cores busy")
    if conditions.stolen is not None and conditions.stolen > 0.05:
        found.append(f"the host took {conditions.stolen:.2f} cores away")
    slow = [governor for governor in conditions.governors if governor in ("powersave", "ondemand", "conservative")]
    if slow and conditions.clock_late_mhz is None:
        found.append(f"the clock may change: governor {', '.join(slow)}")
    if conditions.on_battery:
        found.append("on battery: clocks follow its power plan")
    return found


def _unknown(conditions: Conditions) -> list[str]:
    readings = {
        "clock": conditions.clock_late_mhz,
        "temperature": conditions.temperature,
        "throttling": conditions.throttled,
        "load by others": conditions.others,
        "energy": conditions.joules,
    }
    return [name for name, value in readings.items() if value is None]


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):.0f} %"
