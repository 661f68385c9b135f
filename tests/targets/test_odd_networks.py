"""Networks of common but easily forgotten structure: int8 and float16 take them, or say in one line why not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_network import HEIGHT, SPEC, WIDTH, Network, finish, pictures, save, small_network

from calibration.errors import ModelError
from calibration.images import CalibrationSet
from calibration.progress import Quiet
from targets import get_target
from targets.base import BuildOptions, Precision
from targets.calibrated import quantise
from targets.encodings import U8S8, U8S8_FLOAT_SUMS, Encoding
from targets.enlarging import enlarge_by_copying
from targets.graph import read_graph
from targets.quantise import Budget, calibrate
from targets.reference import emulate_model, infer_model
from targets.sensitivity import mean_error


def begin(net: Network) -> str:
    planes = net.add("Transpose", [net.add("Cast", ["image"], to=TensorProto.FLOAT)], perm=[0, 3, 1, 2])
    return net.add("Mul", [planes, net.constant("scale", 1 / (255 * np.reshape(SPEC.std, (1, 3, 1, 1))))])


def end(net: Network, x: str, channels: int) -> onnx.ModelProto:
    head = net.constant("head", 0.15 * net.rng.normal(0, 0.3, (1, channels, 1, 1)))
    x = net.add("Exp", [net.add("Conv", [x, head, net.constant("bias", [0.7])], kernel_shape=[1, 1])])
    net.nodes.append(helper.make_node("Squeeze", [x, net.constant("axis", [1], np.int64)], ["depth"], name="squeeze"))
    return finish(net.nodes, net.constants)


def convs(net: Network, x: str, *widths: int) -> str:
    for before, after in itertools.pairwise(widths):
        x = net.add("Relu", [net.conv(x, before, after, 3)])
    return x


def coarse_then_refined() -> onnx.ModelProto:
    """A one-channel map in the middle: the convolution behind it has weights [24, 1, 3, 3] and is not depthwise."""
    net = Network()
    return end(net, convs(net, begin(net), 3, 16, 1, 24, 16), 16)


def two_outputs_a_channel() -> onnx.ModelProto:
    net = Network()
    x = convs(net, begin(net), 3, 16, 16)
    x = net.add("Relu", [net.conv(x, 16, 32, 3, groups=16)])
    return end(net, convs(net, x, 32, 16), 16)


def one_channel_added_to_all() -> onnx.ModelProto:
    net = Network()
    x = convs(net, begin(net), 3, 16)
    x = net.add("Relu", [net.add("Add", [net.conv(x, 16, 24, 3), net.conv(x, 16, 1, 3)])])
    x = net.add("Relu", [net.conv(x, 24, 24, 3, groups=24)])
    return end(net, convs(net, x, 24, 16), 16)


def one_activation_behind_another() -> onnx.ModelProto:
    net = Network()
    x = net.conv(convs(net, begin(net), 3, 16), 16, 16, 3)
    x = net.add("Clip", [x, net.constant("zero", 0.0), net.constant("six", 6.0)])
    x = net.add("Relu", [net.conv(net.add("Relu", [x]), 16, 16, 3, groups=16)])
    return end(net, convs(net, x, 16, 16), 16)


SIZES = np.where(np.arange(16) == 0, 30.0, 1.0)
"""One output of a layer is thirty times the others; `evened_out` compensates."""


def evened_out(net: Network, x: str) -> onnx.ModelProto:
    shrunk = net.rng.normal(0, 0.1, (16, 16, 3, 3)) / SIZES.reshape(1, 16, 1, 1)
    x = net.add("Relu", [net.add("Conv", [x, net.constant("shrunk", shrunk)], kernel_shape=[3, 3], pads=[1] * 4)])
    return end(net, convs(net, x, 16, 16), 16)


def enlarged(net: Network, x: str, kernel: int = 2) -> str:
    weight = net.rng.normal(0, 0.1, (16, 16, kernel, kernel)) * SIZES.reshape(1, 16, 1, 1)
    inputs = [x, net.constant("enlarging", weight), net.constant("enlarging_bias", np.zeros(16))]
    return net.add("Relu", [net.add("ConvTranspose", inputs, kernel_shape=[kernel] * 2, strides=[2, 2])])


def cut(net: Network, x: str, start: list[int], to: list[int], axes: list[int]) -> str:
    bounds = [net.constant(name, given, np.int64) for name, given in (("from", start), ("to", to), ("axes", axes))]
    return net.add("Slice", [x, *bounds])


def enlarged_by_a_convolution() -> onnx.ModelProto:
    net = Network()
    x = net.add("MaxPool", [convs(net, begin(net), 3, 16, 16)], kernel_shape=[2, 2], strides=[2, 2])
    return evened_out(net, enlarged(net, x))


def enlarged_and_cropped() -> onnx.ModelProto:
    net = Network()
    x = net.add("MaxPool", [convs(net, begin(net), 3, 16, 16)], kernel_shape=[2, 2], strides=[2, 2])
    return evened_out(net, cut(net, enlarged(net, x, 4), [1, 1], [-1, -1], [2, 3]))


def half_of_the_channels_enlarged() -> onnx.ModelProto:
    net = Network()
    x = net.add("MaxPool", [convs(net, begin(net), 3, 16, 32)], kernel_shape=[2, 2], strides=[2, 2])
    return evened_out(net, enlarged(net, cut(net, x, [0], [16], [1])))


def one_large_output_of_a_product() -> onnx.ModelProto:
    net = Network()
    x = net.add("Transpose", [convs(net, begin(net), 3, 16, 16)], perm=[0, 2, 3, 1])
    x = net.add("Reshape", [x, net.constant("rows", [-1, 16], np.int64)])
    weight = net.constant("product", net.rng.normal(0, 0.25, (16, 16)) * SIZES)
    x = net.add("Relu", [net.add("Gemm", [x, weight, net.constant("product_bias", net.rng.normal(0, 0.1, 16))])])
    x = net.add("Reshape", [x, net.constant("maps", [-1, HEIGHT, WIDTH, 16], np.int64)])
    return evened_out(net, net.add("Transpose", [x], perm=[0, 3, 1, 2]))


def one_convolution() -> onnx.ModelProto:
    net = Network()
    return end(net, begin(net), 3)


def build(model: onnx.ModelProto, target: str, precision: Precision, folder: Path) -> float:
    folder.mkdir(exist_ok=True)
    student = save(model, folder / "student.onnx")
    calibration = CalibrationSet.write(folder / "images", pictures(24), origin="test", made_from={})
    options = BuildOptions()
    built = get_target(target).build(student, precision, calibration, options, Quiet(), into=folder / "made")
    return built.drift["abs_rel"]


def in_rows_and_back() -> onnx.ModelProto:
    """Builds shapes from the shape of an inner tensor, as exported attention does: they are not floats."""
    net = Network()
    x = convs(net, begin(net), 3, 16, 16)
    shape = net.add("Shape", [x])
    batch = net.add("Slice", [shape, net.constant("from", [0], np.int64), net.constant("to", [1], np.int64)])
    rest = net.add("Slice", [shape, net.constant("then", [1], np.int64), net.constant("end", [4], np.int64)])
    rows = net.add("Concat", [batch, net.constant("rows", [16, -1], np.int64)], axis=0)
    back = net.add("Concat", [batch, rest], axis=0)
    x = net.add("Reshape", [net.add("Relu", [net.add("Reshape", [x, rows])]), back])
    return end(net, convs(net, x, 16, 16), 16)


@pytest.mark.parametrize("target", ["onnxruntime", "openvino", "tensorrt"])
@pytest.mark.parametrize(
    "network",
    [
        *(coarse_then_refined, two_outputs_a_channel, one_channel_added_to_all, one_activation_behind_another),
        in_rows_and_back,
    ],
)
def test_int8_of_networks_that_are_put_together_unlike_others(
    network: Callable[[], onnx.ModelProto], target: str, tmp_path: Path
) -> None:
    assert build(network(), target, "int8", tmp_path) < 0.02


def pruned(left: float) -> onnx.ModelProto:
    """Half of the filters of a layer with large inputs are scaled by `left`, so that only their bias remains."""
    net = Network()
    x = net.add("Mul", [convs(net, begin(net), 3, 16, 16), net.constant("large", 40.0)])
    weight = 0.02 * net.rng.normal(0, 1, (16, 16, 3, 3)) * np.where(np.arange(16) % 2, 1, left).reshape(16, 1, 1, 1)
    bias = net.constant("biases", net.rng.uniform(0.1, 0.9, 16))
    x = net.add("Relu", [net.add("Conv", [x, net.constant("pruned", weight), bias], pads=[1] * 4)])
    return end(net, convs(net, x, 16, 16), 16)


def clipped_beside_zero() -> onnx.ModelProto:
    net = Network()
    x = net.add("Clip", [net.conv(convs(net, begin(net), 3, 16), 16, 16, 3), net.constant("low", 0.5)])
    return end(net, convs(net, x, 16, 16), 16)


@pytest.mark.parametrize("target", ["onnxruntime", "openvino", "tensorrt"])
def test_int8_keeps_the_bias_of_filters_that_pruning_left_without_weights(target: str, tmp_path: Path) -> None:
    none, hardly_any = (build(pruned(left), target, "int8", tmp_path / str(left)) for left in (0.0, 1e-6))
    assert none < 1.1 * hardly_any


@pytest.mark.parametrize("target", ["onnxruntime", "openvino", "tensorrt"])
def test_int8_keeps_a_clip_that_its_codes_cannot_do(target: str, tmp_path: Path) -> None:
    assert build(clipped_beside_zero(), target, "int8", tmp_path) < 0.01


def one_large_channel_in_products() -> onnx.ModelProto:
    """One channel of each token is far larger than the others and matters less, as in transformers."""
    net = Network()
    x = convs(net, begin(net), 3, 16, 16)
    tokens = net.add(
        "Transpose", [net.add("Reshape", [x, net.constant("rows", [0, 16, -1], np.int64)])], perm=[0, 2, 1]
    )
    size = np.where(np.arange(16) == 3, 60.0, 1.0)
    tokens = net.add("Mul", [tokens, net.constant("gain", size)])
    for number in range(2):
        weight = net.rng.normal(0, 0.25, (16, 16)) / (size[:, None] if number == 0 else 1)
        tokens = net.add("MatMul", [tokens, net.constant(f"product_{number}", weight)])
    x = net.add("Transpose", [tokens], perm=[0, 2, 1])
    x = net.add("Reshape", [x, net.constant("maps", [0, 16, HEIGHT, WIDTH], np.int64)])
    return end(net, convs(net, x, 16, 16), 16)


def test_a_product_stays_in_float_where_a_budget_asks_for_it(tmp_path: Path) -> None:
    graph = read_graph(save(one_large_channel_in_products(), tmp_path / "student.onnx"))
    images = pictures(24)
    plain = calibrate(graph, images, Quiet())
    lost = mean_error(infer_model(quantise(plain, U8S8), images[:8]), infer_model(graph.model, images[:8]))
    kept = calibrate(graph, images, Quiet(), Budget(lost / 3, images[:8]))
    kinds = {node.name: node.op_type for node in kept.model.graph.node}
    assert "MatMul" in {kinds[name] for name in kept.float_layers}
    assert set(kept.damage) >= {name for name, kind in kinds.items() if kind == "MatMul"}


def of_joined_branches() -> tuple[onnx.ModelProto, str, str]:
    """Two branches that are joined; with the names of the joined tensor and of the layer that reads it."""
    net = Network()
    x = convs(net, begin(net), 3, 16)
    joined = net.add("Concat", [convs(net, x, 16, 8), convs(net, x, 16, 8)], axis=1)
    x = convs(net, joined, 16, 16)
    model = end(net, convs(net, x, 16, 16), 16)
    reader = next(node.name for node in model.graph.node if node.op_type == "Conv" and joined in node.input)
    return model, joined, reader


@pytest.mark.parametrize("encoding", [U8S8, U8S8_FLOAT_SUMS])
def test_what_only_float_layers_read_is_not_rounded(encoding: Encoding, tmp_path: Path) -> None:
    model, joined, reader = of_joined_branches()
    calibrated = calibrate(read_graph(save(model, tmp_path / "student.onnx")), pictures(24), Quiet())
    calibrated = replace(calibrated, float_layers=())

    def rounds_what_is_joined(float_layers: tuple[str, ...]) -> bool:
        encoded = quantise(replace(calibrated, float_layers=float_layers), encoding)
        readers = {node.op_type for node in encoded.graph.node if joined in node.input}
        assert readers in ({"Conv"}, {"QuantizeLinear"})
        return readers == {"QuantizeLinear"}

    others = tuple(name for name in calibrated.rounded if name != reader)
    assert rounds_what_is_joined(()) and rounds_what_is_joined(others[:1])
    assert not rounds_what_is_joined((reader,))


@pytest.mark.parametrize("target", ["openvino", "tensorrt", "tensorrt-rtx"])
def test_sizes_stay_whole_numbers_in_float16(target: str, tmp_path: Path) -> None:
    status = get_target(target).status()
    if not status.can_build:
        pytest.skip(f"{target}: {status.missing}")
    assert build(in_rows_and_back(), target, "fp16", tmp_path) < 5e-3


@pytest.mark.parametrize(
    ("network", "kind"),
    [
        (enlarged_by_a_convolution, "ConvTranspose"),
        (enlarged_and_cropped, "ConvTranspose"),
        (half_of_the_channels_enlarged, "ConvTranspose"),
        (one_large_output_of_a_product, "Gemm"),
    ],
)
def test_onnx_runtime_leaves_float_layers_in_float(
    network: Callable[[], onnx.ModelProto], kind: str, tmp_path: Path
) -> None:
    """Rounding their weights makes no runtime faster, and one scale for all of them would ruin most outputs."""
    graph = read_graph(save(network(), tmp_path / "student.onnx"))
    calibrated = calibrate(graph, pictures(24), Quiet())
    in_float = tuple(node.name for node in calibrated.model.graph.node if node.op_type == kind)
    encoded = quantise(replace(calibrated, float_layers=in_float), U8S8)
    images = pictures(4, seed=3)
    as_written = emulate_model(encoded, images)
    assert mean_error(infer_model(encoded, images), as_written) < 1e-3


def test_the_output_layer_reads_a_scale_per_channel(tmp_path: Path) -> None:
    """ONNX Runtime 1.21 rounds the weights of any layer that reads an int8 map with one scale for all channels."""
    graph = read_graph(save(small_network(), tmp_path / "student.onnx"))
    encoded = quantise(calibrate(graph, pictures(24), Quiet()), U8S8)
    made_by = {name: node for node in encoded.graph.node for name in node.output}
    shapes = {constant.name: list(constant.dims) for constant in encoded.graph.initializer}
    head = next(node for node in reversed(encoded.graph.node) if node.op_type == "Conv")
    assert shapes[made_by[head.input[0]].input[1]] == [8]
    enlarge_by_copying(encoded)
    assert "Resize" not in {node.op_type for node in encoded.graph.node}


def test_a_network_of_one_convolution(tmp_path: Path) -> None:
    assert build(one_convolution(), "openvino", "fp16", tmp_path) < 2e-3
    with pytest.raises(ModelError, match="no convolution that can be int8"):
        build(one_convolution(), "onnxruntime", "int8", tmp_path / "int8")


def test_an_operator_that_openvino_has_not_is_named(tmp_path: Path) -> None:
    net = Network()
    noise = net.add("Bernoulli", [net.add("Sigmoid", [net.conv(begin(net), 3, 16, 3)])], seed=1.0)
    model = end(net, convs(net, noise, 16, 16), 16)
    with pytest.raises(ModelError, match=r"OpenVINO .* cannot convert .*student.onnx \(No conversion rule .*Bernoulli"):
        build(model, "openvino", "fp32", tmp_path)
    assert not (tmp_path / "made").exists()


def test_a_model_of_one_batch_size_is_refused(tmp_path: Path) -> None:
    model = small_network()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(ModelError, match="was exported for a fixed batch of 1"):
        build(model, "onnxruntime", "fp32", tmp_path)
