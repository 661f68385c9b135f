"""Importing targets costs nothing: no runtime is imported before it is used."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ["torch", "onnx", "onnxruntime", "openvino", "nncf", "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings", "PIL"]


def test_no_module_of_targets_or_calibration_imports_a_runtime() -> None:
    script = f"""
import importlib, pkgutil, sys
import calibration, targets
for package in (calibration, targets):
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{{package.__name__}}.{{module.name}}")
targets.all_targets()
print([name for name in {HEAVY} if name in sys.modules])
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
    assert answer.stderr == ""
