"""Asking TensorRT whether it works, in a separate process: without a driver it can crash the one it is in."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from dataclasses import dataclass
from functools import cache

from targets.board.cuda import Device
from targets.board.errors import MissingError
from targets.child import python

__all__ = ["Probe", "probe_tensorrt", "runs_engines"]

_SCRIPT = """
import importlib, json
found = {"version": None, "builds": False, "device": None, "capability": None, "problem": None}
try:
    trt = importlib.import_module(sys.argv[1])
    found["version"] = trt.__version__
    found["builds"] = bool(trt.Builder(trt.Logger()))
except Exception as error:
    found["problem"] = f"{type(error).__name__}: {error}".splitlines()[0]
try:
    from targets.board.cuda import Device
    device = Device()
    found["device"], found["capability"] = device.name, device.capability
except Exception as error:
    found["problem"] = found["problem"] or str(error).splitlines()[0]
print("\\n" + json.dumps(found))
"""


@dataclass(frozen=True)
class Probe:
    """What a TensorRT module can do here."""

    version: str | None  # None: not installed
    builds: bool  # its builder starts
    device: str | None  # the CUDA device's name
    capability: str | None  # its compute capability, such as 8.7
    problem: str | None  # why it does not build or run


@cache
def probe_tensorrt(module: str) -> Probe:
    """Import `module`, start its builder and look for a device, all in another process. Never raises."""
    try:
        answer = subprocess.run(
            python(_SCRIPT, module), capture_output=True, encoding="utf-8", errors="replace", timeout=120, check=False
        )
        return Probe(**json.loads(answer.stdout.splitlines()[-1]))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError, TypeError) as error:
        return Probe(None, False, None, None, f"{module} gave no answer when probed ({type(error).__name__})")


def runs_engines(module: str) -> bool:
    """Whether `module` is installed and a CUDA device answers, as an engine needs; quick, and in this process."""
    try:
        Device()
    except MissingError:
        return False
    return importlib.util.find_spec(module) is not None
