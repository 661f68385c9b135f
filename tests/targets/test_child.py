"""Child processes, started in a folder where the user's own files have the names of modules they import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small_network import save, small_network

from targets.tensorrt_rtx import installed_module

_NAMES = ("targets", "calibration", "json", "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in _NAMES:
        (tmp_path / f"{name}.py").write_text(f"open('{name}.ran', 'w')\nraise SystemExit('this is not {name}')\n")
    return tmp_path


def run(script: str, folder: Path) -> str:
    """Runs as the command `edgekd` does, without the current folder on the path."""
    code = f"import sys\nsys.path[:] = {[entry for entry in sys.path if entry]!r}\n{script}"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(folder.glob("*.ran"))
    return done.stdout.strip()


def test_a_runtime_is_asked_and_not_a_file_of_its_name(folder: Path) -> None:
    said = run("from targets.probe import probe_tensorrt\nprint(probe_tensorrt('tensorrt').problem)", folder)
    assert "gave no answer" not in said


def test_an_engine_is_built_beside_such_files(folder: Path) -> None:
    if installed_module() is None:
        pytest.skip("TensorRT for RTX is not installed")
    save(small_network(), folder / "student.onnx")
    script = """
from pathlib import Path
from calibration.progress import Quiet
from targets import get_target
from targets.base import BuildOptions
made = get_target("tensorrt-rtx").build(
    Path("student.onnx"), "fp32", None, BuildOptions(), Quiet(), into=Path("made")
)
print(made.path.is_file())
"""
    assert run(script, folder) == "True"
