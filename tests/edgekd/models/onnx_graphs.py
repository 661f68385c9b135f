"""Small ONNX networks written by hand, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper


def network(
    nodes: Sequence[NodeProto],
    constants: Mapping[str, np.ndarray],
    *,
    opset: int = 17,
    batch: int | str = "N",
    size: tuple[int | str, int | str] = (12, 16),
    channels: int = 3,
) -> onnx.ModelProto:
    """A model from `x` to `y`."""
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, channels, *size])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(model).graph.output[0]
    if inferred.type.tensor_type.HasField("shape"):
        graph.output[0].CopyFrom(inferred)
    else:  # an impossible network; the checker wants some shape
        graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b", "c", "d"]))
    model.graph.CopyFrom(graph)
    return model


def conv_norm(bias: bool = False, norm: bool = True) -> onnx.ModelProto:
    """Pictures of 12x16 to one positive map of the same size: Conv, BatchNormalization, Conv, Softplus."""
    draw = np.random.default_rng(0)
    constants = {
        "w": draw.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "b": draw.normal(size=4).astype(np.float32),
        "scale": draw.uniform(0.5, 2, 4).astype(np.float32),
        "shift": draw.normal(size=4).astype(np.float32),
        "mean": draw.normal(size=4).astype(np.float32),
        "var": draw.uniform(0.1, 2, 4).astype(np.float32),
        "last": draw.normal(size=(1, 4, 1, 1)).astype(np.float32),
        "last_b": np.ones(1, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", *(["b"] if bias else [])], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"], name="norm"),
        helper.make_node("Relu", ["n" if norm else "c"], ["r"]),
        helper.make_node("Conv", ["r", "last", "last_b"], ["d"]),
        helper.make_node("Softplus", ["d"], ["y"]),
    ]
    if not norm:
        del nodes[1]
    used = {name for node in nodes for name in node.input}
    return network(nodes, {name: value for name, value in constants.items() if name in used})


def save(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path
