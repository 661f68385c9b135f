"""The last two layers where both are pointwise: nothing is rounded between them, and int8 arithmetic is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from small_network import Network, finish, pictures, save

from calibration.progress import Quiet
from targets.calibrated import Calibrated, quantise
from targets.drift import measure_drift
from targets.encodings import S8, U8S8, U8S8_FLOAT_SUMS, Encoding
from targets.graph import copy_model, read_graph
from targets.layers import conv_layers
from targets.pointwise import multiply_last_layers
from targets.quantise import calibrate
from targets.reference import emulate_model, infer_model, open_session, session_options

ACTIVATIONS = {"Relu": [], "Clip": ["zero", "six"], "Clip above": ["", "six"], "none": []}


def network(activation: str = "Relu", *, last_kernel: int = 1, large: float = 1.0) -> onnx.ModelProto:
    """Two 3x3 convolutions, the first strided, and two last ones. `large` scales what few pixels give the last."""
    net = Network()
    floats = net.add("Cast", ["image"], to=onnx.TensorProto.FLOAT)
    x = net.add("Mul", [net.add("Transpose", [floats], perm=[0, 3, 1, 2]), net.constant("scale", 1 / 255)])
    x = net.add("Relu", [net.conv(x, 3, 8, 3, stride=2)])
    x = net.add("Relu", [net.conv(x, 8, 16, 3)])
    net.constant("zero", 0)
    net.constant("six", 6)
    weight = net.rng.normal(0, 0.35, (8, 16, 1, 1))
    bias = np.zeros(8)
    weight[0], bias[0] = large * weight[0], -0.9 * large
    x = net.add("Conv", [x, net.constant("w_first", weight), net.constant("b_first", bias)], kernel_shape=[1, 1])
    if activation != "none":
        x = net.add(activation.split()[0], [x, *ACTIVATIONS[activation]])
    head = 0.1 * net.rng.normal(0, 0.3, (1, 8, last_kernel, last_kernel))
    head[:, 0] = np.abs(head[:, 0]) / large
    x = net.add("Conv", [x, net.constant("head", head), net.constant("head_bias", [0.7])],
                kernel_shape=[last_kernel] * 2, pads=[last_kernel // 2] * 4)  # fmt: skip
    x = net.add("Resize", [x, "", net.constant("scales", [1, 1, 2, 2])], mode="nearest",
                coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    x = net.add("Exp", [x])
    net.nodes.append(helper.make_node("Squeeze", [x, net.constant("axis", [1], np.int64)], ["depth"], name="squeeze"))
    return finish(net.nodes, net.constants)


def calibrated(model: onnx.ModelProto, folder: Path) -> Calibrated:
    return calibrate(read_graph(save(model, folder / "student.onnx")), pictures(32), Quiet())


def read_by_last(model: onnx.ModelProto) -> str:
    """The type of the operator that feeds the output layer, activation functions aside."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    last = [node for node in model.graph.node if node.op_type == "Conv"][-1]
    node = made_by[last.input[0]]
    while node.op_type in ("Relu", "Clip"):
        node = made_by[node.input[0]]
    return str(node.op_type)


@pytest.mark.parametrize("encoding", [U8S8, U8S8_FLOAT_SUMS, S8], ids=lambda encoding: encoding.name)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_the_output_layer_reads_is_not_rounded(activation: str, encoding: Encoding, tmp_path: Path) -> None:
    model = quantise(calibrated(network(activation), tmp_path), encoding)
    onnx.checker.check_model(model, full_check=True)
    assert read_by_last(model) == "Conv"
    kept = activation.split()[0]
    assert sum(node.op_type == kept for node in model.graph.node) >= (activation != "none")


def test_a_few_large_values_do_not_cost_the_others_their_precision(tmp_path: Path) -> None:
    images = pictures(16, seed=3)
    drifts = []
    for large in (1.0, 40.0):
        model = network(large=large)
        int8 = infer_model(quantise(calibrated(model, tmp_path), U8S8), images)
        drifts.append(measure_drift(int8, infer_model(model, images)).abs_rel)
    assert drifts[1] < 2 * drifts[0]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_products_give_the_depth_of_the_convolutions(activation: str, tmp_path: Path) -> None:
    model = quantise(calibrated(network(activation), tmp_path), U8S8)
    products = copy_model(model)
    multiply_last_layers(products)
    onnx.checker.check_model(products, full_check=True)
    images = pictures(5, seed=3)  # not a multiple of the batch size in which models are run
    expected = emulate_model(model, images)
    np.testing.assert_allclose(emulate_model(products, images), expected, rtol=1e-5)
    np.testing.assert_allclose(infer_model(products, images), expected, rtol=2e-3)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_onnxruntime_multiplies_in_int8(activation: str, tmp_path: Path) -> None:
    model = quantise(calibrated(network(activation), tmp_path), U8S8)
    multiply_last_layers(model)
    options = session_options()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    open_session(model, options)
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QGemm") == 1
    assert "DequantizeLinear" not in kinds[kinds.index("QGemm") - 2 :]


def test_another_output_layer_is_left_as_it_is(tmp_path: Path) -> None:
    model = quantise(calibrated(network(last_kernel=3), tmp_path), U8S8)
    assert read_by_last(model) == "DequantizeLinear"
    before = [node.op_type for node in model.graph.node]
    multiply_last_layers(model)
    assert [node.op_type for node in model.graph.node] == before


def test_a_first_layer_in_float_is_left_as_it_is(tmp_path: Path) -> None:
    found = calibrated(network(), tmp_path)
    layer = list(conv_layers(found.model))[-2]
    model = quantise(Calibrated(found.model, found.ranges, found.rounded, (layer,)), U8S8)
    multiply_last_layers(model)
    assert not [node for node in model.graph.node if node.op_type == "Gemm"]
