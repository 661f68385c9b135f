"""What a build refuses, and that nothing is left behind when it does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from small_network import pictures, save, small_network

from calibration.errors import DataError, FileError, MissingRuntimeError, ModelError, UnknownNameError
from calibration.images import CalibrationSet
from calibration.progress import Quiet
from targets import TARGETS, get_target
from targets.base import BuildOptions

BUILDING = ["onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"]


@pytest.fixture(params=BUILDING)
def target(request: pytest.FixtureRequest):
    found = get_target(request.param)
    if not found.status().can_build:
        pytest.skip(f"{request.param}: {found.status().missing}")
    return found


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_model_that_is_zero_everywhere(tmp_path: Path, target) -> None:
    student = save(small_network(gain=0, offset=-200), tmp_path / "student.onnx")
    with pytest.raises(ModelError, match="zero everywhere"):
        target.build(student, "fp32", None, BuildOptions(), Quiet(), into=tmp_path / "out")
    assert left_in(tmp_path) == {"student.onnx"}


def test_a_model_whose_depth_is_infinite(tmp_path: Path, target) -> None:
    student = save(small_network(offset=200), tmp_path / "student.onnx")
    with pytest.raises(ModelError, match="not finite"):
        target.build(student, "fp32", None, BuildOptions(), Quiet(), into=tmp_path / "out")
    assert left_in(tmp_path) == {"student.onnx"}


def test_a_file_that_is_no_model(tmp_path: Path, target) -> None:
    (tmp_path / "student.onnx").write_text("not a model")
    with pytest.raises(ModelError, match=r"student\.onnx"):
        target.build(tmp_path / "student.onnx", "fp32", None, BuildOptions(), Quiet(), into=tmp_path / "out")
    assert left_in(tmp_path) == {"student.onnx"}


def test_calibration_pictures_of_another_size(tmp_path: Path, target) -> None:
    student = save(small_network(), tmp_path / "student.onnx")
    other = CalibrationSet.write(tmp_path / "set", pictures(4, height=40, width=40), origin="", made_from={})
    with pytest.raises(DataError, match=r"40x40.*32x48"):
        target.build(student, "int8", other, BuildOptions(), Quiet(), into=tmp_path / "out")
    assert left_in(tmp_path) == {"student.onnx", "set"}


def test_an_output_that_cannot_be_written(tmp_path: Path, target) -> None:
    student = save(small_network(), tmp_path / "student.onnx")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="file"):
        target.build(student, "fp32", None, BuildOptions(), Quiet(), into=tmp_path / "file" / "out")


def test_an_artefact_that_was_there_survives_a_failed_build(tmp_path: Path, target) -> None:
    student = save(small_network(), tmp_path / "student.onnx")
    built = target.build(student, "fp32", None, BuildOptions(), Quiet(), into=tmp_path / "out")
    save(small_network(offset=200), student)
    with pytest.raises(ModelError):
        target.build(student, "fp32", None, BuildOptions(), Quiet(), into=tmp_path / "out")
    from targets.artefact import open_artefact

    assert open_artefact(tmp_path / "out") == built


@pytest.mark.parametrize(
    ("name", "module", "extra"), [("onnxruntime", "onnxruntime", "onnxruntime"), ("openvino", "openvino", "openvino")]
)
def test_a_missing_runtime_gives_the_command_that_installs_it(
    tmp_path: Path, name: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = save(small_network(), tmp_path / "student.onnx")
    monkeypatch.setitem(sys.modules, module, None)
    status = get_target(name).status()
    assert not status.can_build and not status.can_run
    assert status.fix == f'Install it: pip install "edgekd[{extra}]"'
    with pytest.raises(MissingRuntimeError) as raised:
        get_target(name).build(student, "fp32", None, BuildOptions(), Quiet(), into=tmp_path / "out")
    assert raised.value.exit_code == 3
    assert f"edgekd[{extra}]" in raised.value.fix
    assert left_in(tmp_path) == {"student.onnx"}


def test_tensorrt_for_rtx_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from targets import tensorrt_rtx

    monkeypatch.setattr(tensorrt_rtx, "_MODULES", ("tensorrt_rtx_that_is_not_there",))
    status = get_target("tensorrt-rtx").status()
    assert not status.can_build and "edgekd[tensorrt-rtx]" in str(status.fix)
    with pytest.raises(MissingRuntimeError, match="not installed"):
        tensorrt_rtx.rtx_refusal(b"")


def test_unknown_target_names_the_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean openvino"):
        get_target("openvin")
    assert set(BUILDING) <= set(TARGETS)
