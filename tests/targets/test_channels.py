"""Channels may be scaled, padded and moved; the depth must stay the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from small_network import Network, finish, pictures, reference_depth, save, small_network

from calibration.progress import Quiet
from targets.calibrated import Calibrated, encode_nodes, quantise
from targets.centring import centre
from targets.channels import channel_groups
from targets.encodings import S8, U8S8
from targets.enlarging import enlarge_by_copying
from targets.equalise import channel_factors, divide_channels, measure_reach
from targets.graph import read_graph
from targets.layers import Weights, conv_layers, replace_weights
from targets.nodes import inner
from targets.padding import MULTIPLE, pad_channels
from targets.quantise import calibrate
from targets.ranges import activations, spread
from targets.reference import emulate_model, fold, infer_model


def uneven_network() -> onnx.ModelProto:
    """Depthwise convolutions of 12 channels of very different sizes, one behind ReLU6, and a sum of two maps."""
    net = Network()
    floats = net.add("Cast", ["image"], to=onnx.TensorProto.FLOAT)
    x = net.add("Mul", [net.add("Transpose", [floats], perm=[0, 3, 1, 2]), net.constant("scale", 1 / 255)])
    x = net.conv(x, 3, 12, 3, stride=2)
    for constant in net.constants[-2:]:  # weights and biases
        values = numpy_helper.to_array(constant)
        sizes = np.geomspace(0.02, 2, 12).reshape(-1, *[1] * (values.ndim - 1))
        constant.CopyFrom(numpy_helper.from_array((values * sizes).astype(np.float32), constant.name))
    x = skip = net.add("Clip", [x, net.constant("zero", 0), net.constant("six", 6)])
    x = net.add("Relu", [net.conv(x, 12, 12, 3, groups=12)])
    x = net.add("Relu", [net.conv(x, 12, 12, 1)])
    x = net.add("Add", [x, skip])
    x = net.add("Relu", [net.conv(x, 12, 12, 5, groups=12)])
    x = net.add("Relu", [net.conv(x, 12, 8, 1)])
    x = net.add("Resize", [x, "", net.constant("scales", [1, 1, 2, 2])], mode="nearest",
                coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    x = net.add("Relu", [net.conv(x, 8, 8, 3)])
    weight = net.constant("head", 0.15 * net.rng.normal(0, 0.3, (1, 8, 1, 1)))
    x = net.add("Exp", [net.add("Conv", [x, weight, net.constant("head_bias", [0.7])], kernel_shape=[1, 1])])
    net.nodes.append(helper.make_node("Squeeze", [x, net.constant("axis", [1], np.int64)], ["depth"], name="squeeze"))
    return finish(net.nodes, net.constants)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    path = save(uneven_network(), tmp_path_factory.mktemp("model") / "student.onnx")
    return calibrate(read_graph(path), pictures(32), Quiet())


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_a_sum_scales_its_terms_alike_and_the_head_is_left_alone() -> None:
    model = fold(uneven_network())
    first, _, third, *_ = conv_layers(model).values()
    groups = [group for group in channel_groups(model) if first.name in group.writers]
    assert [third.name in group.writers for group in groups] == [True]
    assert list(groups[0].bounds.values()) == [6]
    head = list(conv_layers(model).values())[-1]
    assert not any(head.name in group.writers for group in channel_groups(model))


def test_divided_channels_are_more_alike_and_the_depth_is_the_same() -> None:
    model, images = fold(uneven_network()), pictures(12)
    reach = measure_reach(model, images, Quiet())
    equal = divide_channels(model, channel_factors(model, reach, equalising=1.0))
    after = measure_reach(equal, images, Quiet())
    name = conv_layers(model)["conv10"].source  # the sum that a depthwise convolution reads
    assert unevenness(reach[name]) > 20
    assert unevenness(after[name]) < 1.5
    expected = reference_depth(uneven_network(), images)
    np.testing.assert_allclose(infer_model(equal, images), expected, rtol=1e-4)


def test_what_a_depthwise_convolution_reads_counts_though_a_relu_reads_it_too() -> None:
    net = Network()
    floats = net.add("Cast", ["image"], to=onnx.TensorProto.FLOAT)
    x = net.add("Mul", [net.add("Transpose", [floats], perm=[0, 3, 1, 2]), net.constant("scale", 1 / 255)])
    both = net.conv(x, 3, 12, 3)
    x = net.add("Add", [net.conv(net.add("Relu", [both]), 12, 12, 3, groups=12), net.conv(both, 12, 12, 3, groups=12)])
    x = net.add("Exp", [net.conv(net.conv(x, 12, 8, 1), 8, 1, 1)])
    net.nodes.append(helper.make_node("Squeeze", [x, net.constant("axis", [1], np.int64)], ["depth"], name="squeeze"))
    assert both in measure_reach(fold(finish(net.nodes, net.constants)), pictures(4), Quiet())


def unevenness(reach: np.ndarray) -> float:
    living = reach[reach > 0]
    return float(living.max() / living.min())


def test_channels_are_equalised_half_way_by_default() -> None:
    model, images = fold(uneven_network()), pictures(12)
    reach = measure_reach(model, images, Quiet())
    after = measure_reach(divide_channels(model, channel_factors(model, reach)), images, Quiet())
    name = conv_layers(model)["conv10"].source
    assert unevenness(after[name]) == pytest.approx(unevenness(reach[name]) ** 0.5, rel=0.1)


def test_moved_activations_use_all_codes_and_lose_less(calibrated: Calibrated) -> None:
    nodes = [node.name for node in inner(calibrated.model, S8.kinds)]
    moved, ranges, _ = centre(calibrated.model, calibrated.ranges, calibrated.rounded, nodes)
    gone = [node for node in calibrated.model.graph.node if node.name not in {n.name for n in moved.graph.node}]
    assert [node.op_type for node in gone] == ["Relu", "Relu"]  # in front of the two 1x1 convolutions in the body
    assert all(ranges[node.input[0]][0] == -ranges[node.input[0]][1] for node in gone)
    images = pictures(6, seed=3)
    exact = infer_model(calibrated.model, images)
    codes = encode_nodes(calibrated, S8, nodes)
    quantisers = {node.input[0]: node for node in codes.graph.node if node.op_type == "QuantizeLinear"}
    scale = {c.name: numpy_helper.to_array(c) for c in codes.graph.initializer}
    for node in gone:
        assert scale[quantisers[node.input[0]].input[1]] == pytest.approx(calibrated.ranges[node.output[0]][1] / 255)
    error = np.abs(emulate_model(codes, images) - exact).mean()
    assert error < 0.02 * exact.mean()


def test_a_relu_is_not_moved_where_a_reader_pads() -> None:
    model = fold(small_network())
    nodes = [node.name for node in inner(model, S8.kinds)]
    names = activations(model, inner(model, U8S8.kinds))
    moved, _, _ = centre(model, dict.fromkeys(names, (0.0, 1.0)), {}, nodes)
    layers = conv_layers(moved)
    read_without_relu = {layer.source for layer in layers.values()} & {layer.output for layer in layers.values()}
    assert all(not any(layer.pads) for layer in layers.values() if layer.source in read_without_relu)
    assert kinds(moved).count("Relu") == kinds(model).count("Relu") - 1


def test_padded_channels_change_no_bit(calibrated: Calibrated) -> None:
    padded = pad_channels(calibrated)
    depthwise = [layer for layer in conv_layers(padded.model).values() if layer.depthwise]
    assert [layer.groups % MULTIPLE for layer in depthwise] == [0, 0]
    images = pictures(5, seed=3)
    for encoding in (U8S8, S8):
        models = [quantise(one, encoding) for one in (calibrated, padded)]
        onnx.checker.check_model(models[1], full_check=True)
        np.testing.assert_array_equal(*(infer_model(model, images) for model in models))


def test_copied_maps_change_no_bit(calibrated: Calibrated) -> None:
    model = quantise(calibrated, U8S8)
    copied = quantise(calibrated, U8S8)
    enlarge_by_copying(copied)
    onnx.checker.check_model(copied, full_check=True)
    assert "Resize" in kinds(model) and "Resize" not in kinds(copied)
    images = pictures(5, seed=3)
    np.testing.assert_array_equal(infer_model(model, images), infer_model(copied, images))


@pytest.mark.parametrize("change", [{"mode": "linear"}, {"coordinate_transformation_mode": "align_corners"}])
def test_what_does_not_repeat_pixels_is_not_copied(tmp_path: Path, change: dict[str, str]) -> None:
    model = uneven_network()
    (resize,) = [node for node in model.graph.node if node.op_type == "Resize"]
    for name, value in change.items():
        for attribute in [a for a in resize.attribute if a.name == name]:
            resize.attribute.remove(attribute)
        resize.attribute.append(helper.make_attribute(name, value))
    graph = read_graph(save(model, tmp_path / "student.onnx"))
    copied = quantise(calibrate(graph, pictures(16), Quiet()), U8S8)
    enlarge_by_copying(copied)
    assert "Resize" in kinds(copied)


def test_weights_that_layers_share_are_replaced_in_one_alone() -> None:
    """Even where a layer that is not replaced reads a constant with the name that the new one would get."""
    weight = np.ones((3, 3, 1, 1), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "tied.weight"], ["y"], name="tied"),
            helper.make_node("Conv", ["y", "tied.weight"], ["z"], name="again", auto_pad="SAME_UPPER"),
        ],
        "shared",
        [helper.make_tensor_value_info("x", 1, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("z", 1, [1, 3, 4, 4])],
        [numpy_helper.from_array(weight, "tied.weight")],
    )
    model = helper.make_model(graph)
    for factor in (2, 3):  # quantisation replaces weights more than once
        replace_weights(model, {"tied": Weights(factor * weight, np.full(3, factor, np.float32))})
        found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        tied, again = model.graph.node
        assert (found[tied.input[1]] == factor).all() and (found[tied.input[2]] == factor).all()
        assert (found[again.input[1]] == 1).all()
        assert len(found) == 3
        onnx.checker.check_model(model)


def test_pictures_are_taken_evenly_from_all() -> None:
    for count in (65, 98, 112, 127, 300):
        chosen = spread(np.arange(count, dtype=np.uint8), 64) if count < 256 else spread(np.arange(count), 64)
        assert (len(set(chosen.tolist())), chosen[0], chosen[-1]) == (64, 0, count - 1)
        assert max(np.diff(chosen)) - min(np.diff(chosen)) <= 1
    assert spread(np.arange(5), 64).tolist() == [0, 1, 2, 3, 4]


def test_a_layer_left_in_float_stays_in_float_in_onnxruntime(calibrated: Calibrated) -> None:
    """By default ONNX Runtime's optimiser would round its weights, with one scale for all channels."""
    first, second, *_ = calibrated.rounded
    nodes = [node.name for node in inner(calibrated.model, U8S8.kinds) if node.name != second]
    model = encode_nodes(calibrated, U8S8, nodes)
    images = pictures(6, seed=3)
    as_written, optimised = emulate_model(model, images), infer_model(model, images)
    assert np.abs(optimised / as_written - 1).mean() < 2e-3
    assert first != second
