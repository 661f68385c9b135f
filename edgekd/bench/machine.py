"""What machine this is: everything a reader needs to judge a latency. Never fails; what cannot be read is None."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from edgekd.bench.sysfs import number, text

__all__ = ["Machine", "describe_machine"]

_FLAGS = (
    *("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve"),
)
"""CPU features that decide how fast int8 and half precision are, of x86 and Arm."""

_RUNTIMES = ("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "nncf", "tensorrt", "tensorrt-rtx", "torch")
_RTX_LIBS = ("tensorrt-rtx-cu13-libs", "tensorrt-rtx-cu12-libs")


@dataclass(frozen=True)
class Machine:
    """A machine in words and numbers. None: not to be read here."""

    device: str  # short, for a file's name and a table's title
    cpu: str
    flags: tuple[str, ...]
    cores: int  # logical, of the machine
    usable_cores: float  # what this process may use: affinity and container quota
    memory_gib: float | None
    memory_limit_gib: float | None  # of the container
    system: str
    python: str
    versions: Mapping[str, str]  # edgekd and the runtimes that are installed
    gpus: tuple[str, ...]
    power_mode: str | None  # Jetson's nvpmodel

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Machine:
        """The inverse of `to_json`. Raises KeyError or TypeError for anything else."""
        fields = {name: value[name] for name in cls.__dataclass_fields__}
        return cls(**{**fields, "flags": tuple(fields["flags"]), "gpus": tuple(fields["gpus"])})


def describe_machine(root: Path = Path("/")) -> Machine:
    """Describe the machine whose /proc and /sys lie under `root`."""
    info = text(root / "proc/cpuinfo") or ""
    board = (text(root / "proc/device-tree/model") or "").strip("\0 ") or None
    cpu = _field(info, "model name") or _field(info, "Hardware") or platform.processor() or platform.machine()
    present = set((_field(info, "flags") or _field(info, "Features") or "").split())
    gpus = _gpus(root)
    return Machine(
        device=board or (gpus[0] if gpus else cpu),
        cpu=cpu,
        flags=tuple(flag for flag in _FLAGS if flag in present),
        cores=os.cpu_count() or 1,
        usable_cores=_usable_cores(root),
        memory_gib=_memory(root),
        memory_limit_gib=_memory_limit(root),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {sys.version.split()[0]}",
        versions=_versions(),
        gpus=gpus,
        power_mode=_power_mode(root),
    )


def _field(info: str, name: str) -> str | None:
    """The first value of `name` in /proc/cpuinfo."""
    for line in info.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return None


def _usable_cores(root: Path) -> float:
    try:
        allowed = float(len(os.sched_getaffinity(0)))
    except (AttributeError, OSError):  # not on macOS and Windows
        allowed = float(os.cpu_count() or 1)
    quota, _, period = (text(root / "sys/fs/cgroup/cpu.max") or "max").strip().partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        return min(allowed, int(quota) / int(period))
    old_quota, old_period = (number(root / f"sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))
    if old_quota and old_period and old_quota > 0:
        return min(allowed, old_quota / old_period)
    return allowed


def _memory(root: Path) -> float | None:
    total = (_field(text(root / "proc/meminfo") or "", "MemTotal") or "").split()
    return int(total[0]) / 2**20 if total and total[0].isdigit() else None


def _memory_limit(root: Path) -> float | None:
    limit = number(root / "sys/fs/cgroup/memory.max")
    return None if limit is None else limit / 2**30


def _gpus(root: Path) -> tuple[str, ...]:
    """NVIDIA GPUs by the driver's own files: no library is loaded."""
    found = []
    try:
        folders = sorted((root / "proc/driver/nvidia/gpus").iterdir())
    except OSError:
        folders = []
    for folder in folders:
        name = _field(text(folder / "information") or "", "Model")
        if name:
            found.append(name)
    return tuple(found)


def _power_mode(root: Path) -> str | None:
    """Jetson's power mode: `pmode:0002` in nvpmodel's status, named in its configuration."""
    _, _, mode = (text(root / "var/lib/nvpmodel/status") or "").strip().partition(":")
    if not mode.isdigit():
        return None
    for line in (text(root / "etc/nvpmodel.conf") or "").splitlines():
        # < POWER_MODEL ID=2 NAME=15W >
        fields = dict(part.partition("=")[::2] for part in line.strip("<> ").split() if "=" in part)
        if "POWER_MODEL" in line and fields.get("ID") == str(int(mode)):
            return fields.get("NAME", mode)
    return str(int(mode))


def _versions() -> dict[str, str]:
    found = {}
    for name in ("edgekd", *_RUNTIMES, *_RTX_LIBS):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
