"""Runtimes that artefacts are built for: a table of names, each imported only when used. See README.md."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from calibration.errors import UnknownNameError

if TYPE_CHECKING:
    from targets.base import Target

__all__ = ["TARGETS", "all_targets", "get_target"]

TARGETS = {
    "onnxruntime": "targets.onnxruntime:OnnxRuntime",
    "openvino": "targets.openvino:OpenVino",
    "tensorrt": "targets.tensorrt:TensorRT",
    "tensorrt-rtx": "targets.tensorrt_rtx:TensorRTRtx",
}
"""To add a target, put its file beside this one and its line here."""


def get_target(name: str) -> Target:
    """The target of that name. Raises UnknownNameError."""
    if name not in TARGETS:
        raise UnknownNameError("target", name, TARGETS)
    module, _, cls = TARGETS[name].partition(":")
    return cast("Target", getattr(importlib.import_module(module), cls)())


def all_targets() -> list[Target]:
    """Every target of the table, in its order."""
    return [get_target(name) for name in TARGETS]
