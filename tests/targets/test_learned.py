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
    values = {"w": np.ones((2, 2, 1, 1), np.float32), "zero": np.float32(0), "six": np.float32(6)}
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], constants))


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


@pytest.mark.parametrize(("learned", "found"), [((0.0, 7.0), (0.0, 6.0)), ((-1.0, 5.0), (0.0, 5.0))])
def test_a_range_is_no_wider_than_the_clip_that_it_stands_for(
    learned: tuple[float, float], found: tuple[float, float]
) -> None:
    """The quantiser drops the Clip: values beyond its bounds would pass."""
    first = helper.make_node("Conv", ["x", "w"], ["made"], name="first", **CONV)
    clip = helper.make_node("Clip", ["made", "zero", "six"], ["cut"], name="clip")
    conv = helper.make_node("Conv", ["cut", "w"], ["a"], name="next", **CONV)
    assert learned_ranges(model_of(first, clip, conv), {"next": learned}) == dict.fromkeys(("cut", "made"), found)


def test_a_range_ends_where_the_relu_that_it_stands_for_does() -> None:
    first = helper.make_node("Conv", ["x", "w"], ["made"], name="first", **CONV)
    relu = helper.make_node("Relu", ["made"], ["cut"], name="relu")
    conv = helper.make_node("Conv", ["cut", "w"], ["a"], name="next", **CONV)
    found = learned_ranges(model_of(first, relu, conv), {"next": (-0.5, 3.0)})
    assert found == dict.fromkeys(("cut", "made"), (0.0, 3.0))
