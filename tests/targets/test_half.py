from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import Network, finish, pictures, reference_depth, save, small_network

from calibration.errors import ModelError
from calibration.progress import Quiet
from targets import get_target
from targets.base import BuildOptions
from targets.graph import read_graph
from targets.half import require_half, to_half


def with_scaled_weight(index: int, factor: float) -> onnx.ModelProto:
    """The small network with the weights of one convolution multiplied by `factor`."""
    model = small_network(gain=0)  # keeps depth itself finite
    conv = [node for node in model.graph.node if node.op_type == "Conv"][index]
    for constant in model.graph.initializer:
        if constant.name == conv.input[1]:
            constant.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(constant) * np.float32(factor), constant.name)
            )
    return model


def test_half_model_is_valid_and_agrees() -> None:
    model = to_half(small_network())
    onnx.checker.check_model(model, full_check=True)
    images = pictures(2, seed=8)
    expected = reference_depth(small_network(), images)
    depth = reference_depth(model, images)
    error = np.abs(depth - expected) / expected
    assert 0 < error.max() < 5e-3
    assert depth.dtype == np.float32


def test_pre_processing_and_output_layer_keep_float32() -> None:
    model = to_half(small_network())
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    types |= {constant.name: constant.data_type for constant in model.graph.initializer}
    *inner, head = [node for node in model.graph.node if node.op_type == "Conv"]
    assert {types[name] for node in inner for name in node.input} == {TensorProto.FLOAT16}
    assert {types[name] for name in head.input} == {TensorProto.FLOAT}
    (resize,) = [node for node in model.graph.node if node.op_type == "Resize"]
    assert (types[resize.input[0]], types[resize.input[2]]) == (TensorProto.FLOAT16, TensorProto.FLOAT)
    (sub,) = [node for node in model.graph.node if node.op_type == "Sub"]
    assert {types[name] for name in sub.input} == {TensorProto.FLOAT}


def test_depth_clipped_further_away_than_float16_reaches_is_no_cause_for_a_warning() -> None:
    model = small_network()
    for node in model.graph.node:
        node.input[:] = ["unclipped" if name == "depth" else name for name in node.input]
        node.output[:] = ["unclipped" if name == "depth" else name for name in node.output]
    model.graph.node.append(helper.make_node("Clip", ["unclipped", "near", "far"], ["depth"], name="clip"))
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(bound, np.float32), name) for name, bound in (("near", 0.1), ("far", 1e9))
    )
    images = pictures(2, seed=8)
    assert np.abs(reference_depth(to_half(model), images) / reference_depth(small_network(), images) - 1).max() < 5e-3


def test_what_keeps_a_division_from_being_one_by_zero_stays_in_float() -> None:
    """In float16 the added 1e-8 is 0, and so are the features in many places."""
    net = Network()
    planes = net.add("Transpose", [net.add("Cast", ["image"], to=TensorProto.FLOAT)], perm=[0, 3, 1, 2])
    x = net.add("Relu", [net.conv(planes, 3, 16, 3)])
    x = net.add("Relu", [net.add("Sub", [x, net.constant("much", 60.0)])])
    length = net.add(
        "Add", [net.add("ReduceSum", [x, net.constant("channels", [1], np.int64)]), net.constant("tiny", 1e-8)]
    )
    x = net.conv(net.add("Relu", [net.conv(net.add("Div", [x, length]), 16, 16, 3)]), 16, 1, 1)
    net.nodes.append(helper.make_node("Squeeze", [x, net.constant("axis", [1], np.int64)], ["depth"]))
    model = finish(net.nodes, net.constants)
    images = np.zeros_like(pictures(1))
    assert (
        np.isfinite(reference_depth(model, images)).all() and np.isfinite(reference_depth(to_half(model), images)).all()
    )


@pytest.mark.parametrize(("factor", "what"), [(1e7, "weight"), (3e4, "activation")])
@pytest.mark.parametrize("target", ["openvino", "tensorrt", "tensorrt-rtx"])
def test_overflow_is_named_before_anything_is_written(tmp_path: Path, factor: float, what: str, target: str) -> None:
    student = save(with_scaled_weight(1, factor), tmp_path / "student.onnx")
    status = get_target(target).status()
    if not status.can_build:
        pytest.skip(f"{target}: {status.missing}")
    with pytest.raises(ModelError, match=rf"{what}.*overflows float16"):
        get_target(target).build(student, "fp16", None, BuildOptions(), Quiet(), into=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["student.onnx"]


def test_a_model_within_range_is_let_through(tmp_path: Path) -> None:
    graph = read_graph(save(small_network(), tmp_path / "student.onnx"))
    require_half(graph, pictures(2), Quiet())
