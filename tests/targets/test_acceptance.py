"""TensorRT for RTX parses without a card, so it judges every model that is written for TensorRT."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from small_network import pictures, save, small_network

from calibration.images import CalibrationSet
from calibration.progress import Quiet
from targets import get_target
from targets.base import BuildOptions, Precision
from targets.board.engine import build_engine
from targets.board.options import EngineOptions
from targets.calibrated import quantise
from targets.encodings import U8S8
from targets.graph import read_graph
from targets.quantise import calibrate
from targets.tensorrt_rtx import installed_module, rtx_refusal


@pytest.fixture(autouse=True)
def _rtx() -> None:
    status = get_target("tensorrt-rtx").status()
    if not status.can_build:
        pytest.skip(f"tensorrt-rtx: {status.missing}")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_what_tensorrt_is_given_is_accepted(tmp_path: Path, precision: Precision) -> None:
    student = save(small_network(), tmp_path / "student.onnx")
    calibration = CalibrationSet.write(tmp_path / "set", pictures(16), origin="", made_from={})
    built = get_target("tensorrt").build(
        student, precision, calibration, BuildOptions(), Quiet(), into=tmp_path / "out"
    )
    assert rtx_refusal((built.folder / "model.onnx").read_bytes()) is None


def test_the_judge_refuses_the_encoding_of_the_others(tmp_path: Path) -> None:
    graph = read_graph(save(small_network(), tmp_path / "student.onnx"))
    model = quantise(calibrate(graph, pictures(16), Quiet()), U8S8)
    assert "Int32" in str(rtx_refusal(model.SerializeToString())) or "zero" in str(
        rtx_refusal(model.SerializeToString())
    )


def test_what_is_no_model_is_refused_with_a_reason() -> None:
    assert rtx_refusal(b"no model")


@pytest.fixture(scope="module")
def fastdepth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not os.environ.get("EDGEKD_SHARED"):
        pytest.skip("EDGEKD_SHARED is not set: it names the folder that holds teachers/fastdepth")
    pytest.importorskip("torch", reason="torch exports the teacher")
    from edgekd.models.teachers import load_teacher
    from edgekd.models.to_onnx import export_onnx

    teacher = load_teacher(str(Path(os.environ["EDGEKD_SHARED"]) / "teachers" / "fastdepth" / "fastdepth_7.onnx"))
    path = tmp_path_factory.mktemp("fastdepth") / "fastdepth.onnx"
    export_onnx(teacher.module, teacher.input, path, metadata={})
    return path


@pytest.mark.parametrize("name", ["rooms", "slim-m", "mobile-m"])
def test_the_builder_takes_the_s8_model_of_networks_that_come_with_edgekd(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch exports the network")
    from edgekd.models.students import build_student
    from edgekd.models.teachers import load_teacher
    from edgekd.models.to_onnx import export_onnx

    teacher = load_teacher("rooms")
    spec = teacher.input
    module = teacher.module if name == "rooms" else build_student(name, teacher)
    export_onnx(module.eval(), spec, tmp_path / "network.onnx", metadata={})
    images = pictures(16, height=spec.height, width=spec.width)
    calibration = CalibrationSet.write(tmp_path / "set", images, origin="", made_from={})
    built = get_target("tensorrt-rtx").build(
        tmp_path / "network.onnx", "int8", calibration, BuildOptions(), Quiet(), into=tmp_path / "out"
    )
    assert (built.folder / "model.engine").stat().st_size > 10_000


def test_fastdepth_is_accepted_in_int8_and_stays_near(fastdepth: Path, tmp_path: Path) -> None:
    spec = read_graph(fastdepth).input
    images = pictures(24, height=spec.height, width=spec.width)
    calibration = CalibrationSet.write(tmp_path / "set", images, origin="", made_from={})
    built = get_target("tensorrt").build(fastdepth, "int8", calibration, BuildOptions(), Quiet(), into=tmp_path / "out")
    model = (built.folder / "model.onnx").read_bytes()
    trt = importlib.import_module(str(installed_module()))
    assert len(build_engine(trt, model, (spec.height, spec.width), "int8", EngineOptions())[0]) > 1_000_000
    assert built.drift["abs_rel"] < 0.05
    assert built.settings["float_layers"]
    assert np.isfinite(list(built.drift.values())).all()
    assert onnx.load_from_string(model).opset_import[0].version == 17
