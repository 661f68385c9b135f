"""NVIDIA cards through a stand-in for NVIDIA's binding, so that the tests need no card.

The calls, constants and units are those of the NVML API reference: milliwatts, millijoules, MHz, bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from edgekd.bench import gpu
from edgekd.bench.gpu import read_gpus


def refuse(*_: Any) -> Any:
    raise RuntimeError("Not Supported")


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    module = SimpleNamespace(
        NVML_CLOCK_SM=1,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlSystemGetDriverVersion=lambda: b"550.120",
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: "NVIDIA GeForce RTX 3060 Laptop GPU",
        nvmlDeviceGetClockInfo=lambda handle, kind: 1425,
        nvmlDeviceGetTemperature=lambda handle, kind: 66,
        nvmlDeviceGetPowerUsage=lambda handle: 48_500,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: 1_000_000,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: 0x4 | 0x20,
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)  # type: ignore[arg-type]
    gpu._nvml.cache_clear()
    yield module
    gpu._nvml.cache_clear()


def test_units_and_reasons(nvml: SimpleNamespace) -> None:
    (card,) = read_gpus()
    assert (card.name, card.driver) == ("NVIDIA GeForce RTX 3060 Laptop GPU", "550.120")
    assert (card.clock_mhz, card.temperature) == (1425, 66)
    assert (card.watts, card.joules) == (48.5, 1000)
    assert card.held_back == ("power cap", "heat (driver)")


def test_what_a_card_refuses_is_unknown(nvml: SimpleNamespace) -> None:
    for name in list(vars(nvml)):
        if name.startswith("nvmlDeviceGet") and name not in ("nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"):
            setattr(nvml, name, refuse)
    (card,) = read_gpus()
    assert (card.name, card.watts, card.joules, card.clock_mhz, card.held_back) == ("NVIDIA GPU", None, None, None, ())


@pytest.mark.parametrize("missing", [True, False])
def test_without_binding_or_driver_there_is_none(nvml: SimpleNamespace, missing: bool) -> None:
    if missing:
        sys.modules["pynvml"] = None  # type: ignore[assignment]
    else:
        nvml.nvmlInit = refuse
    assert read_gpus() == ()
