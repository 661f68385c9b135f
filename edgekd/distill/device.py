"""Where a distillation runs, and in which number format."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import torch

from calibration.errors import MissingRuntimeError, UsageError

__all__ = ["autocast", "choose_device", "describe"]


def choose_device(name: str) -> torch.device:
    """`auto` (a GPU when there is one), `cpu`, `cuda` or `cuda:N`. Raises MissingRuntimeError or UsageError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"There is no device named {name!r}", fix="Choose auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"Distillation does not run on {name}", fix="Choose auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise MissingRuntimeError(
            f"Device {name} was asked for, but PyTorch {torch.__version__} sees {torch.cuda.device_count()} GPUs",
            fix="Use --device cpu, or install a CUDA build of torch and the NVIDIA driver",
        )
    return device


def describe(device: torch.device) -> str:
    """The device and number format in words, for the screen and the run's manifest."""
    if device.type == "cuda":
        formats = "bfloat16 and float32" if torch.cuda.is_bf16_supported() else "float32"
        return f"{torch.cuda.get_device_name(device)}, {formats}"
    return f"CPU, {torch.get_num_threads()} threads, float32"


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 on a GPU that has it; float32 elsewhere."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()
