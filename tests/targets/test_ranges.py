"""Ranges of abnormal activations: not a number on some pictures, or next to nothing on all."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import pictures

from calibration.errors import ModelError
from calibration.progress import Quiet
from targets.ranges import find_extremes, measure_ranges


def model_of(*nodes: onnx.NodeProto, **constants: float) -> onnx.ModelProto:
    """A model of pictures [N, 32, 48, 3] whose nodes read `pixels`, float32."""
    cast = helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT)
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 32, 48, 3])
    output = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    values = [numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()]
    graph = helper.make_graph([cast, *nodes], "g", [image], [output], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("place", [0, 1, 5])
def test_an_activation_that_is_not_a_number_on_any_picture_is_named(place: int) -> None:
    images = pictures(6)
    images[place] = 0  # a network that divides by brightness divides by 0
    images[:, 0, 0] = 0
    sums = helper.make_node("ReduceSum", ["pixels"], ["brightness"], keepdims=1)
    shares = helper.make_node("Div", ["pixels", "brightness"], ["shares"])
    with pytest.raises(ModelError, match="'shares' is not finite on the calibration pictures"):
        find_extremes(model_of(sums, shares), images, ["shares"], Quiet())


def test_an_activation_next_to_nothing_keeps_its_extremes() -> None:
    """A layer that weight decay has all but removed: its numbers are denormal, but not all 0."""
    scaled = helper.make_node("Mul", ["pixels", "tiny"], ["scaled"])
    ranges = measure_ranges(model_of(scaled, tiny=1e-39), pictures(4), ["scaled"], Quiet())
    assert ranges["scaled"] == pytest.approx((0, 255e-39), rel=1e-3)


def test_a_range_leaves_out_the_share_that_was_asked_at_either_end_and_includes_0() -> None:
    images = pictures(6)
    moved = helper.make_node("Sub", ["pixels", "middle"], ["moved"])
    values = np.sort(images.astype(np.float64).ravel()) - 100
    low, high = measure_ranges(model_of(moved, middle=100.0), images, ["moved"], Quiet(), kept=0.9)["moved"]
    bin_of_the_histogram = (values[-1] - values[0]) / 4096
    assert np.quantile(values, 0.1) - bin_of_the_histogram <= low <= np.quantile(values, 0.1)
    assert np.quantile(values, 0.9) <= high <= np.quantile(values, 0.9) + bin_of_the_histogram
    bright = np.maximum(images, 60)
    ranges = measure_ranges(model_of(moved, middle=30.0), bright, ["moved", "pixels"], Quiet(), kept=0.9)
    assert ranges["moved"][0] == ranges["pixels"][0] == 0
    assert measure_ranges(model_of(moved, middle=100.0), images, ["moved"], Quiet(), kept=1)["moved"] == (
        values[0],
        values[-1],
    )


def test_even_and_odd_columns_count_alike_where_not_every_value_is_counted() -> None:
    """As in a map that was enlarged: here every second value is 200, on both sides of the number that is counted."""
    images = pictures(2)
    images.reshape(2, -1)[:, ::2] = 10
    images.reshape(2, -1)[:, 1::2] = 200
    images[:, 0, 0, 0], images[:, 0, 0, 2] = 0, 255
    for repeats in (16, 64):  # 1.1 and 4.5 times as many as are counted
        tiled = helper.make_node("Tile", ["pixels", "repeats"], ["tiled"])
        model = model_of(tiled)
        model.graph.initializer.append(numpy_helper.from_array(np.array([1, repeats, 1, 1]), "repeats"))
        assert measure_ranges(model, images, ["tiled"], Quiet(), kept=0.7)["tiled"][1] == pytest.approx(200, abs=0.1)
