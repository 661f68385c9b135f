"""What a build refuses, and that a refusal leaves nothing behind."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from notes import Notes
from onnx import helper, numpy_helper
from small_network import Network, finish, pictures, save, small_network

from calibration.errors import DataError, FileError, MissingRuntimeError, ModelError, UnknownNameError
from calibration.files import sha256_file, write_json
from calibration.images import CalibrationSet
from calibration.progress import Quiet
from targets import TARGETS, get_target
from targets.base import BuildOptions, Precision
from targets.calibrated import quantise
from targets.encodings import S8, U8S8, Encoding
from targets.graph import TEACHER_KEY, metadata, read_graph
from targets.quantise import calibrate

BUILDING = ["onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"]


@pytest.fixture(params=BUILDING)
def target(request: pytest.FixtureRequest):
    found = get_target(request.param)
    if not found.status().can_build:
        pytest.skip(f"{request.param}: {found.status().missing}")
    return found


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_model_that_is_zero_everywhere(tmp_path: Path, target, precision: Precision) -> None:
    student = save(small_network(gain=0, offset=-200), tmp_path / "student.onnx")
    some = CalibrationSet.write(tmp_path / "set", pictures(16), origin="", made_from={})
    with pytest.raises(ModelError, match="zero everywhere"):
        target.build(student, precision, some, BuildOptions(), Quiet(), into=tmp_path / "out")
    assert left_in(tmp_path) == {"student.onnx", "set"}


def test_a_model_whose_depth_is_infinite(tmp_path: Path, target) -> None:
    student = save(small_network(offset=200), tmp_path / "student.onnx")
    with pytest.raises(ModelError, match="not finite"):
        target.build(student, "fp32", None, BuildOptions(), Quiet(), into=tmp_path / "out")
    assert left_in(tmp_path) == {"student.onnx"}


def test_a_model_that_crashes_openvino_ends_the_build_and_not_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2026.4 does, on int8 models of some networks. Here its process ends itself as a crash would end it."""
    pytest.importorskip("openvino", reason="OpenVINO is what this test is about")
    crash = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setattr("targets.openvino._COMPILE", crash)
    student = save(small_network(), tmp_path / "student.onnx")
    with pytest.raises(ModelError, match=r"OpenVINO \S+ crashes when it compiles the fp32 model \(SIGSEGV\)"):
        get_target("openvino").build(student, "fp32", None, BuildOptions(), Quiet(), into=tmp_path / "out")
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


def unchecked_set(folder: Path, images: np.ndarray) -> CalibrationSet:
    """A set whose digests fit, as code other than edgekd's might write it."""
    made = CalibrationSet.write(folder, pictures(4), origin="", made_from={})
    np.save(folder / "images.npy", images)
    made = replace(made, count=len(images), sha256=sha256_file(folder / "images.npy"))
    described = {**asdict(made), "digest": made.digest}
    del described["folder"]
    write_json(folder / "calibration.json", described)
    return CalibrationSet.open(folder)


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (np.zeros((0, 32, 48, 3), np.uint8), "set is empty"),
        (np.zeros((16, 32, 48, 3), np.uint8), "are black"),
        (np.repeat(pictures(1), 16, axis=0), "one picture, 16 times"),
    ],
)
def test_calibration_pictures_that_show_nothing(tmp_path: Path, target, images: np.ndarray, reason: str) -> None:
    student = save(small_network(), tmp_path / "student.onnx")
    bad = unchecked_set(tmp_path / "set", images)
    with pytest.raises(DataError, match=reason):
        target.build(student, "int8", bad, BuildOptions(), Quiet(), into=tmp_path / "out")
    assert left_in(tmp_path) == {"student.onnx", "set"}


def test_an_empty_calibration_set_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="empty"):
        CalibrationSet.write(tmp_path / "set", pictures(4)[:0], origin="", made_from={})
    assert left_in(tmp_path) == set()


def test_a_calibration_set_that_was_altered(tmp_path: Path) -> None:
    CalibrationSet.write(tmp_path / "set", pictures(4), origin="", made_from={})
    np.save(tmp_path / "set" / "images.npy", 255 - pictures(4))
    with pytest.raises(FileError, match=r"images\.npy was altered"):
        CalibrationSet.open(tmp_path / "set")


def test_calibration_pictures_of_another_model(tmp_path: Path, target) -> None:
    model = small_network()
    helper.set_model_props(model, {**metadata(model), TEACHER_KEY: "kitchen 1111aaaa"})
    student = save(model, tmp_path / "student.onnx")
    other = CalibrationSet.write(tmp_path / "set", pictures(16), origin="", made_from={"teacher": "2222bbbb"})
    with pytest.raises(DataError, match=r"another model.*2222bbbb.*1111aaaa"):
        target.build(student, "int8", other, BuildOptions(), Quiet(), into=tmp_path / "out")
    assert left_in(tmp_path) == {"student.onnx", "set"}


@pytest.mark.parametrize("encoding", [U8S8, S8])
def test_a_model_that_is_int8_already(tmp_path: Path, target, encoding: Encoding) -> None:
    """TensorRT would read the uint8 of the other encoding as int8."""
    graph = read_graph(save(small_network(), tmp_path / "student.onnx"))
    quantised = quantise(calibrate(graph, pictures(16), Quiet()), encoding)
    save(quantised, tmp_path / "student.onnx")
    with pytest.raises(ModelError, match="already int8"):
        target.build(tmp_path / "student.onnx", "fp32", None, BuildOptions(), Quiet(), into=tmp_path / "out")
    assert left_in(tmp_path) == {"student.onnx"}


def with_transposed_convolutions(which: Callable[[onnx.NodeProto], bool]) -> onnx.ModelProto:
    """The small network with some 1x1 convolutions written as transposed ones: the same arithmetic."""
    model = small_network()
    values = {constant.name: constant for constant in model.graph.initializer}
    for node in model.graph.node:
        shape = list(values[node.input[1]].dims) if node.op_type == "Conv" else []
        if shape[2:] == [1, 1] and which(node):
            node.op_type = "ConvTranspose"
            turned = numpy_helper.to_array(values[node.input[1]]).transpose(1, 0, 2, 3).copy()
            values[node.input[1]].CopyFrom(numpy_helper.from_array(turned, node.input[1]))
    return model


def test_layers_that_no_runtime_has_int8_for_are_named_and_stay_in_float(tmp_path: Path, target) -> None:
    model = with_transposed_convolutions(lambda node: node.input[2] != "head_bias")
    student = save(model, tmp_path / "student.onnx")
    seed = BUILDING.index(target.name)  # other pictures for each target, or its calibration would be reused
    some = CalibrationSet.write(tmp_path / "set", pictures(16, seed), origin="", made_from={})
    notes = Notes()
    built = target.build(student, "int8", some, BuildOptions(), notes, into=tmp_path / "out")
    assert any("No runtime has int8 for ConvTranspose" in line for line in notes.said)
    assert built.drift["abs_rel"] < 0.05


def test_a_model_without_a_layer_that_could_be_int8(tmp_path: Path, target) -> None:
    net = Network()
    floats = net.add("Cast", ["image"], to=1)
    mean = net.add("ReduceMean", [floats], axes=[3], keepdims=0)
    net.nodes.append(helper.make_node("Add", [mean, net.constant("one", [1.0])], ["depth"], name="add"))
    student = save(finish(net.nodes, net.constants), tmp_path / "student.onnx")
    some = CalibrationSet.write(tmp_path / "set", pictures(16), origin="", made_from={})
    with pytest.raises(ModelError, match="no convolution that can be int8"):
        target.build(student, "int8", some, BuildOptions(), Quiet(), into=tmp_path / "out")
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
