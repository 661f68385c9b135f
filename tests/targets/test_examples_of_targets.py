"""The scripts of examples/targets that need no GPU, run as a user runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from small_network import save, small_network

ENGINES = Path(__file__).parents[2] / "examples" / "targets" / "engines.py"


def test_the_models_of_engines_are_written_without_a_gpu(tmp_path: Path) -> None:
    student = save(small_network(), tmp_path / "student.onnx")
    command = [sys.executable, str(ENGINES), "--make", "out", str(student)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").glob("*.onnx")} == {
        f"student-{precision}.onnx" for precision in ("fp32", "fp16", "int8")
    }
