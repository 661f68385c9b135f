"""Under which conditions a latency was measured: clocks, heat, load by others, throttling. Never fails.

A reading is taken before and after a measurement; `change` tells what happened between them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekd.bench.sysfs import each, number, text

__all__ = ["Change", "Reading", "change", "read_conditions"]


@dataclass(frozen=True)
class Reading:
    """The machine at one moment. None: not to be read here."""

    when: float  # seconds, of the monotonic clock
    load: float | None  # of the last minute
    governors: tuple[str, ...]  # the distinct ones
    clock_mhz: float | None  # of the fastest core now
    clock_limit_mhz: float | None  # the highest it is allowed
    gpu_clock_mhz: float | None
    temperature: float | None  # Celsius, of the hottest zone
    throttled: float | None  # how often, by any counter there is: core, package or container quota
    busy: float | None  # seconds of CPU time used by all processes since start
    stolen: float | None  # seconds that the host kept from this machine since start
    own: float  # seconds of CPU time of this process


@dataclass(frozen=True)
class Change:
    """What happened between two readings."""

    seconds: float
    load_before: float | None
    load_after: float | None
    others: float | None  # cores kept busy by other processes, on average
    stolen: float | None  # cores kept from this machine by its host, on average
    clock_before_mhz: float | None
    clock_after_mhz: float | None
    gpu_clock_mhz: float | None
    temperature_before: float | None
    temperature_after: float | None
    throttled: float | None  # how often in between
    governors: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Change:
        """The inverse of `to_json`. Raises KeyError or TypeError for anything else."""
        fields = {name: value[name] for name in cls.__dataclass_fields__}
        return cls(**{**fields, "governors": tuple(fields["governors"])})


def read_conditions(root: Path = Path("/")) -> Reading:
    """Read the conditions of the machine whose /proc and /sys lie under `root`."""
    cpus = root / "sys/devices/system/cpu"
    load = (text(root / "proc/loadavg") or "").split()
    busy, stolen = _cpu_seconds(root)
    return Reading(
        when=time.monotonic(),
        load=_float(load[0]) if load else None,
        governors=tuple(sorted({(text(path) or "").strip() for path in each(cpus, _GOVERNOR)} - {""})),
        clock_mhz=_clock(root, cpus),
        clock_limit_mhz=_largest(cpus, "cpu[0-9]*/cpufreq/scaling_max_freq", 1e3),
        gpu_clock_mhz=_gpu_clock(root),
        temperature=_temperature(root),
        throttled=_throttled(root, cpus),
        busy=busy,
        stolen=stolen,
        own=time.process_time(),
    )


def change(before: Reading, after: Reading) -> Change:
    """What happened from one reading to the other."""
    seconds = max(after.when - before.when, 1e-9)
    busy, stolen = _difference(before.busy, after.busy), _difference(before.stolen, after.stolen)
    return Change(
        seconds=seconds,
        load_before=before.load,
        load_after=after.load,
        others=None if busy is None else max(0.0, (busy - (after.own - before.own)) / seconds),
        stolen=None if stolen is None else stolen / seconds,
        clock_before_mhz=before.clock_mhz,
        clock_after_mhz=after.clock_mhz,
        gpu_clock_mhz=after.gpu_clock_mhz,
        temperature_before=before.temperature,
        temperature_after=after.temperature,
        throttled=_difference(before.throttled, after.throttled),
        governors=after.governors,
    )


_GOVERNOR = "cpu[0-9]*/cpufreq/scaling_governor"


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
    for kind in ("gpu", "ga10b", "gv11b", "gp10b"):
        clock = _largest(root / "sys/class/devfreq", f"*.{kind}/cur_freq", 1e6)
        if clock is not None:
            return clock
    return None


def _temperature(root: Path) -> float | None:
    """Of the hottest zone between 1 and 150 degrees: boards report absent sensors as 0 or as -256."""
    zones = [number(path) for path in each(root / "sys/class/thermal", "thermal_zone*/temp")]
    found = [zone / 1000 for zone in zones if zone is not None and 1e3 <= zone <= 150e3]
    return max(found, default=None)


def _throttled(root: Path, cpus: Path) -> float | None:
    counts = [number(path) for path in each(cpus, "cpu[0-9]*/thermal_throttle/*_throttle_count")]
    for line in (text(root / "sys/fs/cgroup/cpu.stat") or "").splitlines():
        name, _, value = line.partition(" ")
        if name == "nr_throttled":
            counts.append(_float(value))
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _cpu_seconds(root: Path) -> tuple[float | None, float | None]:
    """(busy, stolen) seconds of all processes, from the first line of /proc/stat."""
    fields = (text(root / "proc/stat") or "").partition("\n")[0].split()
    try:
        user, nice, system, _, _, irq, softirq, steal = (int(value) for value in fields[1:9])
        ticks = os.sysconf("SC_CLK_TCK")
    except (ValueError, AttributeError, OSError):
        return None, None
    return (user + nice + system + irq + softirq) / ticks, steal / ticks
