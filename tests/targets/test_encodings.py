"""The rules of each int8 encoding, read from the models it writes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from small_network import pictures, reference_depth, save, small_network

from calibration.errors import MissingRuntimeError
from calibration.progress import Quiet
from targets import get_target
from targets.calibrated import Calibrated, quantise
from targets.encodings import S8, U8S8
from targets.graph import read_graph
from targets.quantise import calibrate


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    path = save(small_network(), tmp_path_factory.mktemp("model") / "student.onnx")
    return calibrate(read_graph(path), pictures(32), Quiet())


@pytest.fixture(scope="module")
def s8(calibrated: Calibrated) -> onnx.ModelProto:
    return quantise(calibrated, S8)


@pytest.fixture(scope="module")
def u8s8(calibrated: Calibrated) -> onnx.ModelProto:
    return quantise(calibrated, U8S8)


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}


def nodes(model: onnx.ModelProto, *kinds: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type in kinds]


def makers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


class TestS8:
    def test_zero_points_are_int8_zeros(self, s8: onnx.ModelProto) -> None:
        values = constants(s8)
        pairs = nodes(s8, "QuantizeLinear", "DequantizeLinear")
        assert pairs
        for node in pairs:
            zero = values[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()

    def test_no_bias_is_quantised(self, s8: onnx.ModelProto) -> None:
        assert all(constant.data_type != TensorProto.INT32 for constant in s8.graph.initializer)
        made = makers(s8)
        assert all(node.input[2] not in made for node in nodes(s8, "Conv"))

    def test_body_convolutions_have_pairs_on_input_and_weights(self, s8: onnx.ModelProto) -> None:
        made = makers(s8)
        first, *inner, head = nodes(s8, "Conv")
        for node in inner:
            for name in node.input[:2]:
                assert made[name].op_type == "DequantizeLinear"
                assert made[made[name].input[0]].op_type == "QuantizeLinear"
        for node in (first, head):
            assert made[node.input[0]].op_type != "DequantizeLinear"
            assert node.input[1] not in made

    def test_weights_have_a_scale_for_each_output_channel(self, s8: onnx.ModelProto) -> None:
        values, made = constants(s8), makers(s8)
        for node in nodes(s8, "Conv")[1:-1]:
            dequantise = made[node.input[1]]
            weight = values[made[dequantise.input[0]].input[0]]
            scale = values[dequantise.input[1]]
            assert scale.shape == (len(weight),)
            codes = weight / scale[:, None, None, None]
            np.testing.assert_allclose(codes, np.round(codes), atol=1e-3)  # they already lie on the grid
            assert np.abs(codes).max() < 127.5
            assert [a.i for a in dequantise.attribute if a.name == "axis"] == [0]

    def test_residual_add_rounds_the_identity_and_not_the_convolution(self, s8: onnx.ModelProto) -> None:
        made = makers(s8)
        (add,) = nodes(s8, "Add")
        assert sorted(made[name].op_type for name in add.input) == ["Conv", "DequantizeLinear"]

    def test_nothing_is_rounded_behind_an_operator_that_no_other_reads(self, s8: onnx.ModelProto) -> None:
        read = {name for node in s8.graph.node for name in node.input} | {"depth"}
        assert all(name in read for node in s8.graph.node for name in node.output)


class TestU8S8:
    def test_activations_are_uint8_and_weights_int8(self, u8s8: onnx.ModelProto) -> None:
        values = constants(u8s8)
        assert {values[node.input[2]].dtype for node in nodes(u8s8, "QuantizeLinear")} == {np.dtype(np.uint8)}
        weights = [value for value in values.values() if value.ndim == 4 and value.dtype == np.int8]
        assert len(weights) == len(nodes(u8s8, "Conv")) - 2  # all but the first and the output layer's

    def test_first_and_output_layer_and_pre_processing_stay_in_float(self, u8s8: onnx.ModelProto) -> None:
        values, made = constants(u8s8), makers(u8s8)
        first, *_, head = nodes(u8s8, "Conv")
        assert values[first.input[1]].dtype == values[head.input[1]].dtype == np.float32
        (exp,) = nodes(u8s8, "Exp")
        assert made[exp.input[0]] == head
        (sub,) = nodes(u8s8, "Sub")
        assert made[sub.input[0]].op_type == "Transpose"


@pytest.mark.parametrize("encoding", [U8S8, S8], ids=lambda encoding: encoding.name)
class TestBoth:
    def test_valid_opset_17_of_standard_operators(self, calibrated: Calibrated, encoding: object) -> None:
        model = quantise(calibrated, encoding)
        onnx.checker.check_model(model, full_check=True)
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]

    def test_depth_stays_near_the_float_model_by_onnx_evaluator(self, calibrated: Calibrated, encoding: object) -> None:
        images = pictures(3, seed=21)
        expected = reference_depth(small_network(), images)
        model = quantise(calibrated, encoding)
        model.opset_import[0].version = 19  # the first that the evaluator knows Q/DQ of; same meaning for int8
        depth = reference_depth(model, images)
        assert 0 < np.mean(np.abs(depth - expected) / expected) < 0.02

    def test_the_same_pictures_give_the_same_bytes(self, calibrated: Calibrated, encoding: object) -> None:
        first, second = quantise(calibrated, encoding), quantise(calibrated, encoding)
        assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)

    def test_nothing_is_printed_or_logged(
        self, calibrated: Calibrated, encoding: object, capfd: pytest.CaptureFixture[str]
    ) -> None:
        import logging

        handlers = list(logging.getLogger().handlers)
        quantise(calibrated, encoding)
        assert capfd.readouterr() == ("", "")
        assert logging.getLogger().handlers == handlers

    def test_both_round_by_the_same_ranges(self, calibrated: Calibrated, encoding: object) -> None:
        model = quantise(calibrated, encoding)
        values, made = constants(model), makers(model)
        behind = {node.input[0]: node.output[0] for node in nodes(calibrated.model, "Relu")}
        checked = 0
        for node in nodes(model, "QuantizeLinear"):
            name = node.input[0]
            moved = encoding is S8 and name in made and made[name].op_type == "Conv"  # ReLU removed, see centring.py
            low, high = calibrated.ranges.get(behind[name] if moved else name, (0, 0))
            if high > low:
                steps = max(-low, high) / 127 if encoding is S8 and not moved else (high - low) / 255
                assert values[node.input[1]] == pytest.approx(steps, rel=0.02)
                checked += 1
        assert checked >= 3


def test_without_onnxruntime_the_command_to_install_it_is_given(
    calibrated: Calibrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingRuntimeError) as raised:
        quantise(calibrated, S8)
    assert 'pip install "edgekd[onnxruntime]"' in raised.value.fix


def test_what_is_left_of_onnxruntime_is_told_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """If both are installed, uninstalling onnxruntime-gpu leaves a folder that Python imports as an empty package."""
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    status = get_target("onnxruntime").status()
    assert not status.can_build
    assert "is damaged" in str(status.missing)
    assert "--force-reinstall" in str(status.fix)


def test_calibrated_once_for_all_targets(tmp_path: Path) -> None:
    graph = read_graph(save(small_network(), tmp_path / "student.onnx"))
    images = pictures(8)
    assert calibrate(graph, images, Quiet()) is calibrate(graph, images.copy(), Quiet())
    assert calibrate(graph, images, Quiet()) is not calibrate(graph, pictures(8, seed=9), Quiet())
