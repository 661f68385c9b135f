"""A run of a small network, as a distillation leaves it but made without torch, for the tests of steps and verbs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "contract"))  # small_network.py serves both folders
sys.path.insert(0, str(ROOT / "examples" / "paper"))  # folding.py


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/small: the fp32 model, a calibration set of 24 and the depths to check against. Do not write to it."""
    from small_network import pictures, reference_depth, save, small_network

    from calibration.files import sha256_file
    from calibration.images import CalibrationSet
    from edgekd.run import Run, TeacherRecord
    from edgekd.steps.check import References, write_references

    folder = tmp_path_factory.mktemp("finished") / "runs" / "small"
    run = Run.create(folder, TeacherRecord("small", "small", "0" * 64, "made for a test"))
    command = "edgekd distill --teacher small --out {run}"
    with run.lock():
        with run.step("distill", inputs={"teacher": "0" * 64}, asked={"steps": 2}, command=command) as made:
            (folder / "onnx").mkdir()
            made.add(save(small_network(), folder / "onnx" / "student.onnx"))
        made_from = {"student": sha256_file(folder / "onnx" / "student.onnx")}
        with run.step("calibration", inputs=made_from, asked={}, command=command) as made:
            images = CalibrationSet.write(folder / "calibration", pictures(24), origin="test", made_from=made_from)
            made.add(folder / "calibration")
        with run.step("check", inputs=made_from, asked={}, command=command) as made:
            _, held_out = images.split()
            depth = reference_depth(small_network(), held_out)
            made.add(*write_references(folder / "check", References(depth, depth * 1.1)))
    return folder


@pytest.fixture
def run_folder(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run that tests may change: runs/small below the current folder."""
    shutil.copytree(finished_run, tmp_path / "runs" / "small")
    monkeypatch.chdir(tmp_path)
    return Path("runs/small")


@pytest.fixture(scope="session")
def exported_once(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime", reason="the artefacts of this test are built for onnxruntime")
    from calibration.progress import Quiet
    from edgekd.run import Run
    from edgekd.steps.export import ExportSettings, export_run

    folder = tmp_path_factory.mktemp("exported") / "small"
    shutil.copytree(finished_run, folder)
    export_run(Run.open(folder), ExportSettings(targets=("onnxruntime",)), Quiet())
    return folder


@pytest.fixture
def exported_run(exported_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run with artefacts for onnxruntime: runs/small below the current folder."""
    shutil.copytree(exported_once, tmp_path / "runs" / "small")
    monkeypatch.chdir(tmp_path)
    return Path("runs/small")
