"""Importing runtimes that report their use, so that they do not: no connection is opened that nobody asked for."""

from __future__ import annotations

import sys
from typing import Any, Dict

__all__ = ["import_openvino"]

_REPORTER = "openvino_telemetry"


def import_openvino() -> Any:
    """The module `openvino`, whose import would send an event to a statistics service unless its reporter is missing.

    With no `openvino_telemetry` to import it takes the stub of its own that does nothing. Raises ImportError.
    """
    modules: Dict[str, Any] = sys.modules
    hidden = "openvino" not in modules and _REPORTER not in modules
    if hidden:
        modules[_REPORTER] = None  # Python's own mark of a module that cannot be imported
    try:
        import openvino
    finally:
        if hidden:
            del modules[_REPORTER]
    return openvino
