"""Activation functions of several operators in int8: SiLU and squeeze-and-excitation, which ONNX Runtime computes on
codes, and GELU, which stays whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_network import SPEC, Network, finish, pictures, reference_depth, save

from calibration.progress import Quiet
from targets.calibrated import Calibrated, quantise
from targets.encodings import S8, U8S8, U8S8_FLOAT_SUMS, Encoding
from targets.graph import read_graph
from targets.quantise import calibrate
from targets.quick import quantise_for_onnxruntime
from targets.reference import import_onnxruntime


def gelu_network() -> onnx.ModelProto:
    net = Network()
    floats = net.add("Cast", ["image"], to=TensorProto.FLOAT)
    x = net.add("Transpose", [floats], perm=[0, 3, 1, 2])
    x = net.add("Mul", [x, net.constant("scale", np.float32(1 / 255))])
    root, one, half = (
        net.constant(name, np.float32(value)) for name, value in (("root", 2**0.5), ("1", 1), ("2", 0.5))
    )
    x = net.conv(x, 3, 16, 3, stride=2)
    for _ in range(2):
        x = net.conv(x, 16, 16, 3)
        erf = net.add("Erf", [net.add("Div", [x, root])])
        x = net.add("Mul", [net.add("Mul", [x, net.add("Add", [erf, one])]), half])
    x = net.conv(x, 16, 1, 1)
    x = net.add("Resize", [net.add("Softplus", [x]), "", net.constant("sizes", [1, 1, 2, 2])], mode="nearest")
    net.nodes.append(helper.make_node("Squeeze", [x, net.constant("axis", [1], np.int64)], ["depth"], name="squeeze"))
    return finish(net.nodes, net.constants)


def gated_network() -> onnx.ModelProto:
    """Four layers with SiLU, the first and the last beside float layers; a gate from the mean of the second's output,
    a product with a constant, and one of two maps."""
    net = Network()

    def silu(x: str) -> str:
        return net.add("Mul", [x, net.add("Sigmoid", [x])])

    floats = net.add("Cast", ["image"], to=TensorProto.FLOAT)
    channels_first = net.add("Transpose", [floats], perm=[0, 3, 1, 2])
    scale = net.constant("scale", 1 / (255 * np.reshape(SPEC.std, (1, 3, 1, 1))))
    x = silu(net.conv(net.add("Mul", [channels_first, scale]), 3, 16, 3, stride=2))
    x = silu(net.conv(x, 16, 16, 3))
    mean = net.add("GlobalAveragePool", [x])
    inside = net.add("Relu", [net.conv(mean, 16, 8, 1)])
    x = net.add("Mul", [x, net.add("Sigmoid", [net.conv(inside, 8, 16, 1)])])
    x = silu(net.conv(x, 16, 16, 3))
    x = net.add("Mul", [x, net.constant("half", np.float32(0.5))])
    y = net.conv(x, 16, 16, 1)
    x = net.add("Mul", [net.conv(x, 16, 16, 1), y])
    x = silu(net.conv(x, 16, 16, 3))
    weight = net.constant("head", 0.15 * net.rng.normal(0, 0.3, (1, 16, 3, 3)))
    x = net.add("Conv", [x, weight, net.constant("bias", [0.7])], kernel_shape=[3, 3], pads=[1] * 4)
    x = net.add("Resize", [net.add("Exp", [x]), "", net.constant("sizes", [1, 1, 2, 2])], mode="nearest")
    net.nodes.append(helper.make_node("Squeeze", [x, net.constant("axis", [1], np.int64)], ["depth"], name="squeeze"))
    return finish(net.nodes, net.constants)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    path = save(gated_network(), tmp_path_factory.mktemp("model") / "student.onnx")
    return replace(calibrate(read_graph(path), pictures(32), Quiet()), float_layers=())


def rounded(model: onnx.ModelProto, kind: str) -> list[bool]:
    """For each node of a kind, whether what it writes is rounded."""
    read = {name: node.op_type for node in model.graph.node for name in node.input}
    return [read[node.output[0]] == "QuantizeLinear" for node in model.graph.node if node.op_type == kind]


def test_gates_between_int8_layers_are_rounded_and_no_other_products(calibrated: Calibrated) -> None:
    model = quantise(calibrated, U8S8)
    first, second, of_mean, third, last = rounded(model, "Sigmoid")
    assert (first, last) == (False, False)  # behind the first layer, which is float, and before the output layer
    assert (second, of_mean, third) == (True, True, True)
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    products = {node.name: [made_by.get(name) for name in node.input] for node in model.graph.node}
    assert products["mul5"] == ["Conv", "Sigmoid"] and products["mul24"] == ["DequantizeLinear", "Sigmoid"]
    assert all(products[name] == ["DequantizeLinear"] * 2 for name in ("mul8", "mul14", "mul17"))
    assert products["mul18"] == ["DequantizeLinear", None]  # with a constant that is not rounded


def test_onnx_runtime_computes_them_on_codes(calibrated: Calibrated, tmp_path: Path) -> None:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    model = quantise_for_onnxruntime(calibrated).SerializeToString()
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearSigmoid") == 3
    assert kinds.count("QLinearMul") == 4  # and that of two convolutions' outputs, which are rounded anyway


@pytest.mark.parametrize("encoding", [S8, U8S8_FLOAT_SUMS], ids=lambda encoding: encoding.name)
def test_other_runtimes_gate_in_float(calibrated: Calibrated, encoding: Encoding) -> None:
    """TensorRT fuses them into one kernel, and OpenVINO is slower with codes between."""
    assert not any(rounded(quantise(calibrated, encoding), "Sigmoid"))


def test_depth_stays_near_by_onnx_evaluator(calibrated: Calibrated) -> None:
    images = pictures(3, seed=21)
    expected = reference_depth(gated_network(), images)
    model = quantise(calibrated, U8S8)
    model.opset_import[0].version = 19  # the first that the evaluator knows Q/DQ of; same meaning for int8
    assert 0 < np.mean(np.abs(reference_depth(model, images) - expected) / expected) < 0.02


@pytest.mark.parametrize("encoding", [S8, U8S8, U8S8_FLOAT_SUMS], ids=lambda encoding: encoding.name)
def test_the_sum_in_a_gelu_is_not_rounded(tmp_path: Path, encoding: Encoding) -> None:
    """Its runtimes compute a GELU as a whole."""
    path = save(gelu_network(), tmp_path / "student.onnx")
    model = quantise(replace(calibrate(read_graph(path), pictures(16), Quiet()), float_layers=()), encoding)
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    sums = [node for node in model.graph.node if node.op_type == "Add"]
    assert len(sums) == 2
    assert all(made_by[node.input[0]] == "Erf" for node in sums)
    assert rounded(model, "Add") == [False, False]
