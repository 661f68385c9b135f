"""The three packages import each other in one direction only, and are light to import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_arrows_go_one_way() -> None:
    linted = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize(
    "module",
    ["edgekd", "edgekd.cli.app", "edgekd.run", "edgekd.simulate.rooms", "edgekd.evaluate", "edgekd.bench", "targets"],
)
def test_what_a_device_imports_needs_no_torch_and_no_runtime(module: str) -> None:
    heavy = {"torch", "onnxruntime", "openvino", "nncf", "tensorrt", "tensorrt_rtx", "embreex", "h5py"}
    code = f"import sys, {module}; print(*sorted({heavy!r} & set(sys.modules)))"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert imported.stdout.split() == []
