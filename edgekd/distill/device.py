"""Where a distillation runs, and in which number format."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch

from calibration.errors import MissingRuntimeError, UsageError
from calibration.reasons import first_line
from calibration.wording import counted

__all__ = ["autocast", "choose_device", "describe", "exact_float32", "training_dtype"]


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
    if device.type == "cuda":
        problem = None
        if (device.index or 0) >= torch.cuda.device_count():
            problem = f"does not see it (GPUs: {torch.cuda.device_count()})"
        else:
            try:
                torch.cuda.init()  # with too old a driver, GPUs are counted but cannot be used
            except RuntimeError as error:
                problem = f"cannot use it: {first_line(error).rstrip('.')}"
        if problem is not None:
            raise MissingRuntimeError(
                f"Device {name} was requested, but PyTorch {torch.__version__} {problem}",
                fix="Use --device cpu, or install a CUDA build of torch and the NVIDIA driver that it needs",
            )
    return device


def training_dtype(device: torch.device, precision: str = "auto") -> torch.dtype:
    """The dtype that networks compute in during training: `float32`, `bfloat16`, or `auto`, which is bfloat16 on a GPU
    that has it and float32 elsewhere.

    Raises MissingRuntimeError for bfloat16 on a GPU without it.
    """
    has_bfloat16 = device.type != "cuda" or _computes_in_bfloat16(device)
    if precision == "bfloat16" and not has_bfloat16:
        raise MissingRuntimeError(
            f"{torch.cuda.get_device_name(device)} does not compute in bfloat16", fix="Use --precision float32"
        )
    chosen = precision == "bfloat16" or (precision == "auto" and device.type == "cuda" and has_bfloat16)
    return torch.bfloat16 if chosen else torch.float32


def _computes_in_bfloat16(device: torch.device) -> bool:
    """True from NVIDIA's Ampere on. `is_bf16_supported` also accepts cards that emulate it, without convolutions."""
    if torch.version.hip is not None:
        return bool(torch.cuda.is_bf16_supported())
    return torch.cuda.get_device_capability(device) >= (8, 0)


def describe(device: torch.device, precision: str = "auto") -> str:
    """The device and number format in words, for the screen. Raises what `training_dtype` raises."""
    on_cpu = f"CPU, {counted(torch.get_num_threads(), 'thread')}"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else on_cpu
    return f"{name}, {'bfloat16 and ' if training_dtype(device, precision) is torch.bfloat16 else ''}float32"


def autocast(device: torch.device, precision: str = "auto") -> AbstractContextManager[Any]:
    """The context in which a network computes in `training_dtype`, with its weights in float32."""
    if training_dtype(device, precision) is torch.bfloat16:
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Make a GPU compute float32 convolutions in float32: by default cuDNN uses TF32, with a mantissa of 10 bits."""
    switch: Any = torch.backends.cudnn
    name, exact = "allow_tf32", False  # type: str, bool | str
    try:
        before = switch.allow_tf32
    except RuntimeError:  # the teacher's code uses torch's newer switch, and the two cannot be mixed
        switch, name, exact = switch.conv, "fp32_precision", "ieee"
        before = switch.fp32_precision
    setattr(switch, name, exact)
    try:
        yield
    finally:
        setattr(switch, name, before)
