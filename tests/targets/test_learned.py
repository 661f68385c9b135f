"""Ranges that were learned by convolution become those of activations."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from targets.learned import learned_ranges

CONV = {"kernel_shape": [1, 1]}


def model_of(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 8, 8])
    y = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    weight = numpy_helper.from_array(np.ones((2, 2, 1, 1), np.float32), "w")
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], [weight]))


@pytest.mark.parametrize("order", [("left", "right"), ("right", "left")])
def test_an_activation_that_two_convolutions_read_has_the_range_of_both(order: tuple[str, str]) -> None:
    model = model_of(
        helper.make_node("Conv", ["x", "w"], ["made"], name="first", **CONV),
        helper.make_node("Conv", ["made", "w"], ["a"], name="left", **CONV),
        helper.make_node("Conv", ["made", "w"], ["b"], name="right", **CONV),
        helper.make_node("Add", ["a", "b"], ["y"], name="sum"),
    )
    learned = {"left": (-2.0, 3.0), "right": (-0.5, 4.0)}
    assert learned_ranges(model, {name: learned[name] for name in order}) == {"made": (-2.0, 4.0)}


def test_what_another_operator_reads_beside_the_activation_keeps_its_own_range() -> None:
    """A sum takes the values that Relu cuts off."""
    relu = helper.make_node("Relu", ["made"], ["cut"], name="relu")
    conv = helper.make_node("Conv", ["cut", "w"], ["a"], name="next", **CONV)
    first = helper.make_node("Conv", ["x", "w"], ["made"], name="first", **CONV)
    total = helper.make_node("Add", ["a", "made"], ["y"], name="sum")
    assert learned_ranges(model_of(first, relu, conv), {"next": (0.0, 3.0)}) == dict.fromkeys(
        ("cut", "made"), (0.0, 3.0)
    )
    assert learned_ranges(model_of(first, relu, conv, total), {"next": (0.0, 3.0)}) == {"cut": (0.0, 3.0)}
