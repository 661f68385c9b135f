"""What machine this is: everything a reader needs to judge a latency. Never fails; what cannot be read is None."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from edgekd.bench.container import core_quota, memory_limit
from edgekd.bench.gpu import JETSON_GPUS, Gpu, read_gpus
from edgekd.bench.sysfs import each, field, number, text
from edgekd.cores import allowed_cores

__all__ = ["Machine", "describe_machine", "jetson_linux", "power_modes"]

_FLAGS = (
    *("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve"),
)
"""CPU features that decide how fast int8 and half precision are, of x86 and Arm."""

_RUNTIMES = ("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "nncf", "tensorrt", "tensorrt-rtx", "torch")
_ARM_CORES = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse N1",
    (0x41, 0xD40): "Neoverse V1",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD83): "Neoverse V3AE",
    (0x4E, 0x003): "Denver 2",
    (0x4E, 0x004): "Carmel",
}
"""(implementer, part) of /proc/cpuinfo: 64-bit Arm kernels give numbers instead of a name."""

_RTX_LIBS = ("tensorrt-rtx-cu13-libs", "tensorrt-rtx-cu12-libs")


@dataclass(frozen=True)
class Machine:
    """A machine in words and numbers. None: cannot be read here."""

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
    driver: str | None  # of the NVIDIA cards
    board_release: str | None  # Jetson Linux
    power_mode: str | None  # Jetson's nvpmodel
    clocks_locked: bool | None  # as by jetson_clocks: the lowest clock of the cores and the GPU is the highest
    turbo: bool | None

    @property
    def title(self) -> str:
        """The device, with its power mode if it has one."""
        return f"{self.device}, {self.power_mode}" if self.power_mode else self.device


def describe_machine(root: Path = Path("/"), gpus: Callable[[], tuple[Gpu, ...]] = read_gpus) -> Machine:
    """Describe the machine whose /proc and /sys lie under `root`, and its NVIDIA cards."""
    info = text(root / "proc/cpuinfo") or ""
    board = (text(root / "proc/device-tree/model") or "").strip("\0 \n") or None
    # A Jetson's kernel names the architecture where others name the model.
    cpu = _arm_core(info) or field(info, "model name") or platform.processor() or platform.machine()
    present = set((field(info, "flags") or field(info, "Features") or "").split())
    cards, release = gpus(), jetson_linux(root)
    names = tuple(card.name for card in cards) or _gpus(root)
    driver = next((card.driver for card in cards if card.driver), None)
    return Machine(
        device=board or " with ".join((cpu, *dict.fromkeys(names))),
        cpu=cpu,
        flags=tuple(flag for flag in _FLAGS if flag in present),
        cores=sum(line.startswith("processor") for line in info.splitlines()) or os.cpu_count() or 1,
        usable_cores=_usable_cores(root),
        memory_gib=_memory(root),
        memory_limit_gib=memory_limit(root),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {sys.version.split()[0]}",
        versions=_versions(),
        gpus=names,
        driver=driver or (text(root / "sys/module/nvidia/version") or "").strip() or None,
        board_release=None if release is None else f"Jetson Linux {release}",
        power_mode=_power_mode(root),
        clocks_locked=_clocks_locked(root) if board is not None else None,
        turbo=_turbo(root),
    )


def _arm_core(info: str) -> str | None:
    """The kind of the last core listed: big cores come last."""
    kinds = []
    for line in info.splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        try:
            if name == "CPU implementer":
                kinds.append((int(value, 16), -1))
            elif name == "CPU part" and kinds:
                kinds[-1] = (kinds[-1][0], int(value, 16))
        except ValueError:
            return None
    if not kinds:
        return None
    return _ARM_CORES.get(kinds[-1]) or f"Arm core {kinds[-1][0]:#04x}/{kinds[-1][1]:#05x}"


def _clocks_locked(root: Path) -> bool | None:
    pairs = [
        (number(path), number(path.with_name(path.name.replace("min", "max"))))
        for folder, pattern in (
            (root / "sys/devices/system/cpu", "cpu[0-9]*/cpufreq/scaling_min_freq"),
            # Only the GPU's: jetson_clocks leaves those of video and others as they are.
            *((root / "sys/class/devfreq", f"*.{kind}/min_freq") for kind in JETSON_GPUS),
        )
        for path in each(folder, pattern)
    ]
    known = [(low, high) for low, high in pairs if low is not None and high is not None]
    return all(low == high for low, high in known) if known else None


def _turbo(root: Path) -> bool | None:
    off = number(root / "sys/devices/system/cpu/intel_pstate/no_turbo")
    boost = number(root / "sys/devices/system/cpu/cpufreq/boost")
    if off is not None:
        return off == 0
    return None if boost is None else boost == 1


def jetson_linux(root: Path) -> str | None:
    """The release of a Jetson's Linux: `# R36 (release), REVISION: 4.0, GCID: ...` is 36.4.0."""
    found = re.search(r"# R(\d+) \(release\), REVISION: ([\d.]+)", text(root / "etc/nv_tegra_release") or "")
    return None if found is None else f"{found[1]}.{found[2]}"


def power_modes(root: Path) -> dict[str, str]:
    """A Jetson's power modes, name to number, in the order of nvpmodel's configuration."""
    lines = (text(root / "etc/nvpmodel.conf") or "").splitlines()
    found = (re.match(r"\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=([^\s>]+)", line) for line in lines)
    return {match[2]: match[1] for match in found if match}


def _usable_cores(root: Path) -> float:
    allowed, quota = float(len(allowed_cores())), core_quota(root)
    return allowed if quota is None else min(allowed, quota)


def _memory(root: Path) -> float | None:
    total = (field(text(root / "proc/meminfo") or "", "MemTotal") or "").split()
    return int(total[0]) / 2**20 if total and total[0].isdigit() else None


def _gpus(root: Path) -> tuple[str, ...]:
    """NVIDIA GPUs from the driver's own files, without loading a library."""
    folders = each(root / "proc/driver/nvidia/gpus", "*")
    names = (field(text(folder / "information") or "", "Model") for folder in folders)
    return tuple(name for name in names if name)


def _power_mode(root: Path) -> str | None:
    """Jetson's power mode: `pmode:0002 fmode:quiet` in nvpmodel's status, named in its configuration."""
    _, _, mode = (text(root / "var/lib/nvpmodel/status") or "").partition(" ")[0].strip().partition(":")
    if not mode.isdigit():
        return None
    mode = str(int(mode))
    return next((name for name, number in power_modes(root).items() if number == mode), mode)


def _versions() -> dict[str, str]:
    found = {}
    for name in ("edgekd", *_RUNTIMES, *_RTX_LIBS):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
