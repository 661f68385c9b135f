"""Checks that the training side can run here, before an import fails with a traceback."""

from __future__ import annotations

from importlib.util import find_spec

from calibration.errors import MissingRuntimeError

__all__ = ["require_training"]

_MODULES = ("torch", "safetensors", "onnxscript")


def require_training() -> None:
    """Raise MissingRuntimeError when torch, safetensors or onnxscript is not installed."""
    missing = [module for module in _MODULES if find_spec(module) is None]
    if missing:
        raise MissingRuntimeError(
            f"Distilling and calibrating need {' and '.join(missing)}", fix="pip install 'edgekd[distill]'"
        )
