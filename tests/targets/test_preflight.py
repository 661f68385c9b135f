"""The pre-flight against TensorRT for RTX itself, on graphs that build and graphs that do not."""

from __future__ import annotations

import importlib
from pathlib import Path

import onnx
import pytest
from preflight_graphs import GRAPHS, H, W
from small_network import pictures, save, small_network

from calibration.progress import Quiet
from targets.board.engine import build_engine
from targets.board.errors import RefusedError
from targets.board.options import EngineOptions
from targets.calibrated import quantise
from targets.encodings import S8, U8S8
from targets.graph import read_graph
from targets.half import to_half
from targets.preflight import preflight
from targets.quantise import calibrate
from targets.tensorrt_rtx import installed_module

# The builder accepts these but computes something else: it reads uint8 as int8.
TAKEN_WRONGLY = {"q_dq_of_uint8"}


def verdicts(model: onnx.ModelProto) -> dict[str, tuple]:
    return {verdict.version: verdict.findings for verdict in preflight(model)}


@pytest.mark.parametrize("name", GRAPHS)
def test_it_says_of_rtx_what_rtx_says(name: str) -> None:
    module = installed_module()
    if module is None:
        pytest.skip("TensorRT for RTX is not installed")
    model = GRAPHS[name]()
    trt = importlib.import_module(module)
    try:
        build_engine(trt, model.SerializeToString(), (H, W), "fp32", EngineOptions())
        refused = ""
    except RefusedError as error:
        refused = error.message
    findings = verdicts(model)["rtx"]
    assert bool(findings) == (bool(refused) or name in TAKEN_WRONGLY), refused or "it builds"


@pytest.mark.parametrize(
    ("name", "node", "reason"),
    [
        ("q_dq_with_zero_point", "quantizelinear3", "zero-point"),
        ("bias_of_int32", "dequantizelinear3", "bias"),
        ("q_dq_of_uint8", "quantizelinear3", "type: uint8"),
        ("scale_below_zero", "quantizelinear3", "scale"),
        ("unique", "unique3", "op"),
        ("custom_operator", "biasgelu3", "op: com.microsoft"),
        ("half_added_to_float", "add4", "type: its inputs differ in type: FLOAT and FLOAT16"),
        ("uint8_inside", "cast3", "type: UINT8"),
        ("resize_tf_crop", "resize3", "attribute: the coordinate transformation tf_crop_and_resize"),
        ("max_pool_with_indices", "maxpool3", "output"),
    ],
)
def test_it_names_the_node_and_the_reason(name: str, node: str, reason: str) -> None:
    for version, findings in verdicts(GRAPHS[name]()).items():
        assert findings[0].node == node and findings[0].reason.startswith(reason), version


@pytest.mark.parametrize(
    ("name", "builds"),
    [
        ("residual", ["8.5", "8.6", "10.0", "10.15", "11", "rtx"]),
        ("opset_20", ["10.0", "10.15", "11", "rtx"]),  # its Cast is of opset 19
        ("gelu_of_opset_20", ["10.0", "10.15", "11", "rtx"]),
        ("group_norm_of_opset_21", ["10.15", "11", "rtx"]),
        ("layer_norm", ["8.6", "10.0", "10.15", "11", "rtx"]),
        ("bfloat16", ["10.0", "10.15", "11", "rtx"]),
        ("q_dq_weight_as_int8", ["8.6", "10.0", "10.15", "11", "rtx"]),
        ("scale_that_is_computed", ["10.0", "10.15", "11", "rtx"]),
        ("nonzero", ["8.5", "8.6", "10.0", "10.15", "11"]),
    ],
)
def test_versions_differ(name: str, builds: list[str]) -> None:
    assert [version for version, findings in verdicts(GRAPHS[name]()).items() if not findings] == builds


def test_what_edgekd_makes_for_tensorrt_builds_everywhere_and_the_other_encoding_nowhere(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the encodings are made with onnxruntime")
    graph = read_graph(save(small_network(), tmp_path / "student.onnx"))
    calibrated = calibrate(graph, pictures(16), Quiet())
    for model in (graph.model, to_half(graph.model), quantise(calibrated, S8)):
        assert all(verdict.builds for verdict in preflight(model))
    refused = preflight(quantise(calibrated, U8S8))
    assert not any(verdict.builds for verdict in refused)
    assert {finding.reason.split(":")[0] for finding in refused[0].findings} == {"bias", "type", "weights"}


def test_a_model_that_is_not_valid_is_still_read() -> None:
    assert [finding.op for finding in verdicts(GRAPHS["unknown_operator"]())["11"]] == ["Depthify"]
