"""Whether the training side can work here, told before anything is imported that would fail with a traceback."""

from __future__ import annotations

from importlib.util import find_spec

from calibration.errors import MissingRuntimeError

__all__ = ["require_training"]

_MODULES = ("torch", "safetensors", "onnxscript")


def require_training() -> None:
    """Raise MissingRuntimeError when torch or what goes with it is not installed."""
    missing = [module for module in _MODULES if find_spec(module) is None]
    if missing:
        raise MissingRuntimeError(
            f"Distilling and calibrating need {' and '.join(missing)}", fix="pip install 'edgekd[distill]'"
        )
