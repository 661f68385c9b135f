"""Scripts in examples/ whose figures are in a README still run, with settings that are too small for figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def output_of(folder: Path, script: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_bench_is_compared_with_bare_loops(tmp_path: Path) -> None:
    for needed in ("onnx", "onnxruntime", "openvino"):
        pytest.importorskip(needed, reason="the script measures these runtimes")
    printed = output_of(tmp_path, "bench/overhead.py", "--rounds", 1, "--samples", 5)
    assert [line.split()[0] for line in printed.splitlines()] == ["onnxruntime", "openvino"]


def test_ways_of_framing_are_compared(tmp_path: Path) -> None:
    for needed in ("onnx", "onnxruntime", "openvino"):
        pytest.importorskip(needed, reason="the script measures these runtimes")
    assert "| numpy | 0.00" in output_of(tmp_path, "bundle/framing.py")
