"""Importing runtimes with their usage reports off, so that no connection is opened that nobody asked for."""

from __future__ import annotations

import os
import sys
from typing import Any, Dict

__all__ = ["import_onnxruntime", "import_openvino"]

_REPORTER = "openvino_telemetry"


def import_onnxruntime() -> Any:
    """The module `onnxruntime`, which since 1.29 would send Microsoft the models' names and hashes. Raises ImportError.

    ONNX Runtime reads the variable once, when it is loaded; somebody's own value of it stays.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def import_openvino() -> Any:
    """The module `openvino`; its import would send an event to a statistics service if it could load its reporter.

    Where `openvino_telemetry` cannot be imported, OpenVINO uses a stub that does nothing. Raises ImportError.
    """
    modules: Dict[str, Any] = sys.modules
    hidden = "openvino" not in modules and _REPORTER not in modules
    if hidden:
        modules[_REPORTER] = None  # makes Python refuse to import it
    try:
        import openvino
    finally:
        if hidden:
            del modules[_REPORTER]
    return openvino
