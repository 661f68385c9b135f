"""Examines a Jetson by its files alone: what it has for running depth networks, and how to install what it lacks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edgekd.bench.machine import describe_machine, jetson_linux, power_modes
from edgekd.bench.sysfs import each, text

__all__ = ["Jetson", "Problem", "examine_jetson"]

_JETPACKS = {
    "32": "4", "34": "5.0", "35.1": "5.0.2", "35.2": "5.1", "35.3": "5.1.1", "35.4": "5.1.2", "35.5": "5.1.3",
    "35.6.0": "5.1.4", "35.6": "5.1.5", "36.2": "6.0", "36.3": "6.0", "36.4.0": "6.1", "36.4.3": "6.2",
    "36.4": "6.2.1", "36.5": "6.2.2", "38.2": "7.0", "38.4": "7.1", "39": "7.2",
}  # fmt: skip
"""JetPack version by prefix of the Jetson Linux release, for boards without the nvidia-jetpack package."""

_LITTLE = 1 << 30  # bytes; with less free memory a build may be killed
_LIBRARIES = "usr/lib/aarch64-linux-gnu"


@dataclass(frozen=True)
class Problem:
    """Something that is missing or wrong, and the command that fixes it."""

    what: str
    wrong: str
    fix: str


@dataclass(frozen=True)
class Jetson:
    """A board. None means not installed or not readable."""

    board: str
    linux: str  # Jetson Linux (L4T), such as 36.4.7
    jetpack: str | None
    tensorrt: str | None  # version of the library
    tensorrt_python: str | None  # version of the module for the system's Python
    trtexec: str | None
    cuda: str | None
    power_mode: str | None
    power_modes: tuple[str, ...]  # names, in the order of nvpmodel's configuration
    memory: int | None  # bytes
    memory_free: int | None
    problems: tuple[Problem, ...]


def examine_jetson(root: Path = Path("/")) -> Jetson | None:
    """The Jetson whose files lie under `root`; None on any other machine."""
    linux = jetson_linux(root)
    if linux is None:
        return None
    packages = dict(_packages(root))
    machine = describe_machine(root)
    memory = _meminfo(root)
    modes = power_modes(root)
    tensorrt = next((packages[name] for name in sorted(packages) if re.fullmatch(r"libnvinfer\d+", name)), None)
    trtexec = root / "usr/src/tensorrt/bin/trtexec"
    found = Jetson(
        board=machine.device,
        linux=linux,
        jetpack=packages.get("nvidia-jetpack") or _jetpack(linux),
        tensorrt=tensorrt,
        tensorrt_python=packages.get("python3-libnvinfer"),
        trtexec=str(trtexec) if trtexec.exists() else None,
        cuda=_cuda(root, packages),
        power_mode=machine.power_mode,
        power_modes=tuple(modes),
        memory=memory.get("MemTotal"),
        memory_free=memory.get("MemAvailable"),
        problems=(),
    )
    return replace(found, problems=tuple(_problems(root, found, packages, modes)))


def _problems(root: Path, found: Jetson, packages: dict[str, str], modes: dict[str, str]) -> Iterator[Problem]:
    if int(found.linux.split(".")[0]) < 34:
        yield Problem(
            "JetPack", "JetPack 4 has TensorRT 8.2 and Python 3.6, too old for a bundle", "Flash JetPack 5 or newer"
        )
        return
    folders = ("tegra", "nvidia", ".")
    if not any((root / _LIBRARIES / folder / "libcuda.so.1").exists() for folder in folders):
        yield Problem("driver", "CUDA's driver library (libcuda.so.1) is missing", "sudo apt install nvidia-l4t-cuda")
    if found.tensorrt is None:
        yield Problem("TensorRT", "not installed", "sudo apt update && sudo apt install tensorrt python3-libnvinfer")
    elif [int(part) for part in found.tensorrt.split(".")[:2] if part.isdigit()] < [8, 5]:
        yield Problem(
            "TensorRT", f"{found.tensorrt} is too old; a bundle needs 8.5 or newer", "Flash JetPack 5.1 or newer"
        )
    elif found.tensorrt_python is None:
        yield Problem("TensorRT", "its Python module is not installed", "sudo apt install python3-libnvinfer")
    elif found.tensorrt != found.tensorrt_python:
        yield Problem(
            "TensorRT",
            f"the library is {found.tensorrt}, its Python module {found.tensorrt_python}",
            "sudo apt install --only-upgrade tensorrt python3-libnvinfer",
        )
    if found.tensorrt is not None and found.trtexec is None:
        yield Problem("trtexec", "not installed (build.sh of a bundle needs it)", "sudo apt install libnvinfer-bin")
    if found.cuda is None:
        yield Problem("CUDA", "its runtime is not installed", "sudo apt install nvidia-jetpack-runtime")
    if "python3-numpy" not in packages:
        yield Problem("numpy", "not installed for the system's Python", "sudo apt install python3-numpy")
    if not packages.keys() & {"python3-opencv", "libopencv-python", "nvidia-opencv"}:
        yield Problem("OpenCV", "not installed (run.py --camera needs it)", "sudo apt install python3-opencv")
    fastest = next((name for name in modes if name.startswith("MAXN")), None)
    if fastest is not None and found.power_mode is not None and not found.power_mode.startswith("MAXN"):
        yield Problem(
            "power", f"the power mode is {found.power_mode}; {fastest} is faster", f"sudo nvpmodel -m {modes[fastest]}"
        )
    if found.memory_free is not None and found.memory_free < _LITTLE:
        yield Problem(
            "memory",
            f"{found.memory_free >> 20} MiB are free; a build may be killed",
            "sudo systemctl isolate multi-user, or build with --engine workspace=256",
        )


def _packages(root: Path) -> Iterator[tuple[str, str]]:
    """Installed Debian packages and their upstream versions."""
    for stanza in (text(root / "var/lib/dpkg/status") or "").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Status", "").endswith(" ok installed"):  # "install", or "hold" for pinned packages
            yield fields.get("Package", ""), re.split(r"[-+]", fields.get("Version", ""))[0]


def _jetpack(linux: str) -> str | None:
    known = [begin for begin in _JETPACKS if linux == begin or linux.startswith(f"{begin}.")]
    return _JETPACKS[max(known, key=len)] if known else None


def _cuda(root: Path, packages: dict[str, str]) -> str | None:
    for path in each(root / "usr/local", "cuda*/version.json"):
        try:
            return str(json.loads(text(path) or "")["cuda"]["version"])
        except (ValueError, KeyError, TypeError):
            continue
    return next((version for name, version in packages.items() if re.fullmatch(r"cuda-cudart-\d+-\d+", name)), None)


def _meminfo(root: Path) -> dict[str, int]:
    """The fields of /proc/meminfo, in bytes."""
    lines = re.findall(r"^(\w+): +(\d+) kB$", text(root / "proc/meminfo") or "", re.MULTILINE)
    return {name: int(size) * 1024 for name, size in lines}
