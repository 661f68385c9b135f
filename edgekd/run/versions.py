"""The versions that a result depends on, read from the installed packages without importing them."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["versions"]

_PACKAGES = ("edgekd", "numpy", "onnx", "torch", "onnxruntime", "openvino", "nncf", "tensorrt", "embreex")


@functools.cache
def versions() -> dict[str, str]:
    """Name to version of Python, the system, and the installed packages that affect results."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
