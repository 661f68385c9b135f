"""Power from the machine's own sensors: a Jetson's rails, RAPL of x86 processors, NVIDIA cards. Never fails.

Rails give watts at a moment, counters joules since some start. The whole machine's power is that of one rail where the
board has a sensor at its input, otherwise the sum of its sensors (NVIDIA's Jetson Linux Developer Guide, "Power
monitoring"; Linux's Documentation/power/powercap and Documentation/hwmon/ina3221).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd.bench.gpu import Gpu
from edgekd.bench.sysfs import each, number, text

__all__ = ["Counter", "Power", "joules_between", "read_power", "whole"]

_WHOLE = ("VDD_IN", "POM_5V_IN", "5V_IN", "VIN")
"""Rails that include all the others: of Orin Nano, Orin NX, Xavier NX and TX2; of Nano; of Thor."""

_INSIDE = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}
"""Rails that another one supplies and so includes: that of AGX Orin's memory."""

_CARD = "GPU "


@dataclass(frozen=True)
class Counter:
    """Joules counted since some start; at `wraps` the count restarts."""

    joules: float
    wraps: float | None = None


@dataclass(frozen=True)
class Power:
    """What the sensors say at one moment: watts by rail, counters by name."""

    rails: Mapping[str, float]
    counters: Mapping[str, Counter]


def read_power(root: Path, gpus: Sequence[Gpu]) -> Power:
    """Read all sensors of the machine whose /sys lies under `root`; a board with rails of its own needs no NVML."""
    rails = dict(_rails(root))
    counters = dict(_rapl(root))
    if not rails:
        for place, gpu in enumerate(gpus):
            name = f"{_CARD}{place}"
            if gpu.joules is not None:
                counters[name] = Counter(gpu.joules)
            elif gpu.watts is not None:
                rails[name] = gpu.watts
    return Power(rails, counters)


def whole(names: Sequence[str]) -> tuple[str, ...]:
    """The sensors that together give the machine's power, without counting anything twice.

    Empty where only cards have sensors: the processor's power is then unknown, and an idle card's watts say nothing
    about what runs on the processor.
    """
    for name in _WHOLE:
        if name in names:
            return (name,)
    if all(name.startswith(_CARD) for name in names):
        return ()
    return tuple(name for name in names if _INSIDE.get(name) not in names)


def joules_between(before: Counter, after: Counter) -> float | None:
    """Joules from one reading to a later one; None where the counter was reset in between."""
    difference = after.joules - before.joules
    if difference < 0:
        return None if after.wraps is None else difference + after.wraps
    return difference


def _rails(root: Path) -> Iterator[tuple[str, float]]:
    """INA3221 as hwmon (JetPack 5 and later: millivolts and milliamperes) and as iio (JetPack 4: milliwatts), and the
    INA238 at the input of a Thor (microwatts)."""
    drivers = root / "sys/bus/i2c/drivers"
    for folder in each(drivers, "ina3221/*/hwmon/hwmon*"):
        for channel in (1, 2, 3):
            name = (text(folder / f"in{channel}_label") or "").strip()
            volts, amperes = number(folder / f"in{channel}_input"), number(folder / f"curr{channel}_input")
            if name and name != "NC" and volts is not None and amperes is not None:
                yield name, volts * amperes / 1e6
    for folder in each(drivers, "ina3221x/*/iio:device*"):
        for channel in (0, 1, 2):
            name = (text(folder / f"rail_name_{channel}") or "").strip()
            milliwatts = number(folder / f"in_power{channel}_input")
            if name and name != "NC" and milliwatts is not None:
                yield name, milliwatts / 1000
    for folder in each(drivers, "ina238/*/hwmon/hwmon*"):
        microwatts = number(folder / "power1_input")
        if microwatts is not None:
            yield "VIN", microwatts / 1e6


def _rapl(root: Path) -> Iterator[tuple[str, Counter]]:
    """Packages, and memory where it is counted separately. Cores and uncore are parts of their package."""
    for folder in each(root / "sys/class/powercap", "intel-rapl:*"):
        name = (text(folder / "name") or "").strip()
        counted = number(folder / "energy_uj")
        if counted is None or not name.startswith(("package", "dram")):
            continue
        package = folder.name.split(":")[1]
        limit = number(folder / "max_energy_range_uj")
        label = f"RAPL {name}" if name.startswith("package") else f"RAPL {name} {package}"
        yield label, Counter(counted / 1e6, None if limit is None else limit / 1e6)
