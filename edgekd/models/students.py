"""Students by name: networks of ARCHITECTURES before their training."""

from __future__ import annotations

import torch
from torch import nn

from calibration.errors import UnknownNameError
from edgekd.models.architectures import ARCHITECTURES, Architecture
from targets.input import InputSpec

__all__ = ["DEFAULT_STUDENT", "STUDENTS", "build_student"]

STUDENTS: dict[str, Architecture] = {name: entry for name, entry in ARCHITECTURES.items() if name != "rooms"}
DEFAULT_STUDENT = "mobile-m"


def build_student(name: str, input: InputSpec, seed: int = 0) -> nn.Module:  # noqa: A002
    """An untrained student; the same name, input and seed give the same weights.

    Raises UnknownNameError; MissingRuntimeError when its ImageNet weights are not installed.
    """
    if name not in STUDENTS:
        raise UnknownNameError("student", name, STUDENTS)
    entry = STUDENTS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = entry.build(input)
    if entry.pretrain is not None:
        entry.pretrain(student)
    return student
