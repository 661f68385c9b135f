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
