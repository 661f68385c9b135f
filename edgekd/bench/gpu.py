"""NVIDIA cards through NVML: clocks, heat, power, and why the driver holds them back. Never fails; () without any.

The field names and units are those of NVIDIA's NVML API reference; the calls go through `nvidia-ml-py`, NVIDIA's own
binding (`pip install "edgekd[nvml]"`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

__all__ = ["JETSON_GPUS", "Gpu", "read_gpus"]

JETSON_GPUS = ("gpu", "ga10b", "gv11b", "gp10b")
"""The suffixes of the devfreq device of a Jetson's GPU."""


_REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "heat (driver)",
    0x40: "heat (hardware)",
    0x80: "power brake",
}
"""Bits of nvmlClocksEventReasons that slow a busy card down; idle (0x1) and clocks set by an application do not."""


@dataclass(frozen=True)
class Gpu:
    """One card at one moment. None: the card does not report it."""

    name: str
    driver: str | None
    clock_mhz: float | None  # of the multiprocessors
    temperature: float | None  # Celsius
    watts: float | None
    joules: float | None  # since the driver was loaded
    held_back: tuple[str, ...]  # reasons for a lower clock now


def read_gpus() -> tuple[Gpu, ...]:
    """Every card that the driver shows."""
    nvml = _nvml()
    if nvml is None:
        return ()
    count = _asked(nvml.nvmlDeviceGetCount) or 0
    handles = [_asked(partial(nvml.nvmlDeviceGetHandleByIndex, number)) for number in range(count)]
    return tuple(_read(nvml, handle) for handle in handles if handle is not None)


@cache
def _nvml() -> Any:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver, or a driver of another version than its library
        return None
    return pynvml


def _asked(call: Callable[[], Any]) -> Any:
    """The answer, or None where this card or driver has none: NVML raises a class of its own for each refusal."""
    try:
        return call()
    except Exception:
        return None


def _read(nvml: Any, handle: Any) -> Gpu:
    watts = _asked(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    joules = _asked(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    reasons = _asked(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)) or 0
    return Gpu(
        name=_text(_asked(lambda: nvml.nvmlDeviceGetName(handle))) or "NVIDIA GPU",
        driver=_text(_asked(nvml.nvmlSystemGetDriverVersion)),
        clock_mhz=_asked(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        temperature=_asked(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        watts=None if watts is None else watts / 1000,
        joules=None if joules is None else joules / 1000,
        held_back=tuple(words for bit, words in _REASONS.items() if reasons & bit),
    )


def _text(value: Any) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
