"""The conditions of a measurement: clocks, heat, power, load by others, throttling. Never fails.

Readings are taken before, during and after a measurement; `summarise` says what happened between them.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd.bench.container import times_throttled
from edgekd.bench.gpu import JETSON_GPUS, Gpu, read_gpus
from edgekd.bench.power import Power, joules_between, read_power, whole
from edgekd.bench.sysfs import each, number, text
from edgekd.cores import allowed_cores

__all__ = ["Conditions", "Reading", "read_conditions", "summarise"]


@dataclass(frozen=True)
class Reading:
    """The machine at one moment. None: cannot be read here."""

    when: float  # seconds, of the monotonic clock
    load: float | None  # of the last minute
    governors: tuple[str, ...]  # the distinct ones
    clock_mhz: float | None  # of the fastest core now
    clock_limit_mhz: float | None  # the highest it is allowed
    gpu_clock_mhz: float | None
    temperatures: Mapping[str, float]  # Celsius, by zone
    throttled: float | None  # how often, over all counters there are: core, package, over-current, container quota
    held_back: tuple[str, ...]  # what lowers a clock at this moment
    cores: int  # that this process may be scheduled on; a container's quota may grant fewer
    busy: float | None  # seconds of CPU time used by all processes on these cores since start
    stolen: float | None  # seconds that the host kept from these cores since start
    own: float  # seconds of CPU time of this process
    power: Power
    on_battery: bool | None


@dataclass(frozen=True)
class Conditions:
    """What happened while something was measured."""

    seconds: float
    readings: int
    load: float | None  # of the last minute, at the end
    others: float | None  # mean number of `Reading.cores` that others kept busy
    stolen: float | None  # mean number of the same cores that the host kept from this machine
    governors: tuple[str, ...]
    clock_early_mhz: float | None  # the highest reading of the first third
    clock_late_mhz: float | None  # the highest reading of the last third
    clock_limit_mhz: float | None
    gpu_clock_early_mhz: float | None
    gpu_clock_late_mhz: float | None
    temperature: float | None  # Celsius, the highest of any zone
    warmed: float | None  # by how many degrees the hottest zone warmed up
    hottest: str | None  # the zone
    throttled: float | None  # how often meanwhile
    held_back: tuple[str, ...]  # what lowered a clock at any reading
    on_battery: bool | None
    watts: Mapping[str, float]  # mean, by sensor
    joules: float | None  # of the whole machine, as far as it has sensors
    energy_from: str | None  # the sensors that it is from


def read_conditions(
    root: Path = Path("/"),
    gpus: Callable[[], tuple[Gpu, ...]] = read_gpus,
    allowed: Callable[[], frozenset[int]] = allowed_cores,
) -> Reading:
    """Read the conditions of the machine whose /proc and /sys lie under `root`, of its NVIDIA cards, and of the cores
    that this process is `allowed`."""
    cpus = root / "sys/devices/system/cpu"
    load = (text(root / "proc/loadavg") or "").split()
    cores = allowed()
    busy, stolen = _cpu_seconds(root, cores)
    cards = gpus()
    temperatures = _temperatures(root) | {
        f"GPU {place}": card.temperature for place, card in enumerate(cards) if card.temperature is not None
    }
    held_back = [*_cooling(root), *(f"GPU: {reason}" for card in cards for reason in card.held_back)]
    return Reading(
        when=time.monotonic(),
        load=_float(load[0]) if load else None,
        governors=tuple(sorted({(text(path) or "").strip() for path in each(cpus, _GOVERNOR)} - {""})),
        clock_mhz=_clock(root, cpus),
        clock_limit_mhz=_largest(cpus, "cpu[0-9]*/cpufreq/scaling_max_freq", 1e3),
        gpu_clock_mhz=max((card.clock_mhz for card in cards if card.clock_mhz is not None), default=_gpu_clock(root)),
        temperatures=temperatures,
        throttled=_throttled(root, cpus),
        held_back=tuple(held_back),
        cores=len(cores),
        busy=busy,
        stolen=stolen,
        own=time.process_time(),
        power=read_power(root, cards),
        on_battery=_on_battery(root),
    )


def summarise(readings: Sequence[Reading]) -> Conditions:
    """What happened from the first to the last of two or more readings in order of time."""
    first, last = readings[0], readings[-1]
    seconds = max(last.when - first.when, 1e-9)
    busy, stolen = _difference(first.busy, last.busy), _difference(first.stolen, last.stolen)
    own = last.own - first.own
    third = max(len(readings) // 3, 1)
    early, late = readings[:third], readings[-third:]
    zone, temperature = max(
        ((zone, value) for reading in readings for zone, value in reading.temperatures.items()),
        key=lambda found: found[1],
        default=(None, None),
    )
    start = None if zone is None else first.temperatures.get(zone)
    joules = _joules(readings)
    counted = whole(tuple(joules))
    return Conditions(
        seconds=seconds,
        readings=len(readings),
        load=last.load,
        others=None if busy is None else max(0.0, (busy - own) / seconds),
        stolen=None if stolen is None else stolen / seconds,
        governors=last.governors,
        clock_early_mhz=_highest(early, lambda reading: reading.clock_mhz),
        clock_late_mhz=_highest(late, lambda reading: reading.clock_mhz),
        clock_limit_mhz=last.clock_limit_mhz,
        gpu_clock_early_mhz=_highest(early, lambda reading: reading.gpu_clock_mhz),
        gpu_clock_late_mhz=_highest(late, lambda reading: reading.gpu_clock_mhz),
        temperature=temperature,
        warmed=None if temperature is None or start is None else temperature - start,
        hottest=zone,
        throttled=_difference(first.throttled, last.throttled),
        held_back=tuple(dict.fromkeys(reason for reading in readings for reason in reading.held_back)),
        on_battery=last.on_battery,
        watts={name: value / seconds for name, value in joules.items()},
        joules=sum(joules[name] for name in counted) if counted else None,
        energy_from=" + ".join(counted) or None,
    )


_GOVERNOR = "cpu[0-9]*/cpufreq/scaling_governor"


def _joules(readings: Sequence[Reading]) -> dict[str, float]:
    """By sensor, from the first reading to the last: counters by their difference, rails by the trapezoidal rule."""
    pairs = list(itertools.pairwise(readings))
    found: dict[str, float] = {}
    for name in readings[0].power.counters:
        counters = [reading.power.counters.get(name) for reading in readings]
        known = [counter for counter in counters if counter is not None]
        steps = [joules_between(a, b) for a, b in itertools.pairwise(known)]
        sure = [step for step in steps if step is not None]
        if len(sure) == len(pairs):
            found[name] = sum(sure)
    for name in readings[0].power.rails:
        if all(name in reading.power.rails for reading in readings):
            found[name] = sum((b.when - a.when) * (a.power.rails[name] + b.power.rails[name]) / 2 for a, b in pairs)
    return found


def _highest(readings: Sequence[Reading], part: Callable[[Reading], float | None]) -> float | None:
    return max((value for value in map(part, readings) if value is not None), default=None)


def _float(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else max(0.0, after - before)


def _largest(root: Path, pattern: str, divisor: float) -> float | None:
    values = [value for value in (number(path) for path in each(root, pattern)) if value is not None]
    return max(values) / divisor if values else None


def _clock(root: Path, cpus: Path) -> float | None:
    current = _largest(cpus, "cpu[0-9]*/cpufreq/scaling_cur_freq", 1e3)
    if current is not None:
        return current
    lines = (text(root / "proc/cpuinfo") or "").splitlines()
    clocks = [_float(line.partition(":")[2].strip()) for line in lines if line.startswith("cpu MHz")]
    return max((clock for clock in clocks if clock is not None), default=None)


def _gpu_clock(root: Path) -> float | None:
    """A Jetson's GPU shows as a devfreq device: 17000000.gpu, 17000000.ga10b, 57000000.gpu, 17000000.gv11b."""
    for kind in JETSON_GPUS:
        clock = _largest(root / "sys/class/devfreq", f"*.{kind}/cur_freq", 1e6)
        if clock is not None:
            return clock
    return None


def _temperatures(root: Path) -> dict[str, float]:
    """Zones between 1 and 150 degrees: boards report absent sensors as 0 or as -256. PMIC-Die is a constant 100 on a
    Xavier (Jetson Linux Developer Guide) and no temperature."""
    found: dict[str, float] = {}
    for folder in each(root / "sys/class/thermal", "thermal_zone*"):
        value, name = number(folder / "temp"), (text(folder / "type") or "").strip() or folder.name
        if value is not None and 1e3 <= value <= 150e3 and name != "PMIC-Die":
            found[name] = max(value / 1000, found.get(name, 0.0))
    return found


def _cooling(root: Path) -> list[str]:
    """Active throttling devices of a Jetson: `cpu-throttle-alert`, `gpu-throttle-alert`, ...; fans do not count."""
    found = []
    for folder in each(root / "sys/class/thermal", "cooling_device*"):
        kind = (text(folder / "type") or "").strip()
        if "throttle" in kind or kind == "hot-surface-alert":
            state = number(folder / "cur_state")
            if state:
                found.append(kind)
    for folder in each(root / "sys/class/hwmon", "hwmon*"):  # of a Raspberry Pi
        if (text(folder / "name") or "").strip() == "rpi_volt" and number(folder / "in0_lcrit_alarm"):
            found.append("under-voltage")
    return found


def _throttled(root: Path, cpus: Path) -> float | None:
    counts = [number(path) for path in each(cpus, "cpu[0-9]*/thermal_throttle/*_throttle_count")]
    counts += [number(path) for path in each(root / "sys/class/hwmon", "hwmon*/oc[0-9]*_event_cnt")]
    known = [count for count in [*counts, *times_throttled(root)] if count is not None]
    return sum(known) if known else None


def _on_battery(root: Path) -> bool | None:
    """Whether no mains supply is connected; None on a machine without a readable one."""
    mains = []
    for folder in each(root / "sys/class/power_supply", "*"):
        if (text(folder / "type") or "").strip() == "Mains":
            mains.append(number(folder / "online"))
    known = [online for online in mains if online is not None]
    return not any(known) if known else None


def _cpu_seconds(root: Path, cores: frozenset[int]) -> tuple[float | None, float | None]:
    """(busy, stolen) seconds of all processes on these cores, from /proc/stat."""
    lines = [line.split() for line in (text(root / "proc/stat") or "").splitlines() if line.startswith("cpu")]
    each_core = {fields[0]: fields for fields in lines[1:]}
    mine = [each_core[name] for name in map("cpu{}".format, cores) if name in each_core]
    if len(mine) in (0, len(each_core)):
        mine = lines[:1]  # of all cores together
    try:
        ticks = os.sysconf("SC_CLK_TCK")
        counts = [[int(value) for value in fields[1:9]] for fields in mine]
        user, nice, system, _, _, irq, softirq, steal = (sum(column) for column in zip(*counts, strict=True))
    except (ValueError, AttributeError, OSError):
        return None, None
    return (user + nice + system + irq + softirq) / ticks, steal / ticks
