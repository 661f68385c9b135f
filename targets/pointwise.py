"""The last two layers where both are pointwise: the first in int8, its output in float.

Rounding the output layer's input costs more accuracy the further a few of its values reach: FastDepth's lie below 1
nearly everywhere and above 20 in places. No runtime needs it rounded: OpenVINO has int8 convolutions with float output,
and ONNX Runtime has such matrix products, which is what a pointwise convolution is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from targets.layers import constants, groups
from targets.nodes import ACTIVATIONS, body, drop_unused, shapes_of

if TYPE_CHECKING:
    import onnx

__all__ = ["last_activations", "multiply_last_layers"]

_CONV = frozenset({"Conv"})


@dataclass(frozen=True)
class _Pair:
    """Two pointwise convolutions, one reading the other's output, with at most an activation function between."""

    first: onnx.NodeProto
    activation: onnx.NodeProto | None
    last: onnx.NodeProto


def last_activations(model: onnx.ModelProto, rounded: Collection[str]) -> dict[str, str]:
    """The outputs of `rounded` layers that stay in float because only a pointwise output layer reads them.

    Each is mapped to the name of the node that reads it: the activation function or the output layer.
    """
    return {
        pair.first.output[0]: (pair.activation or pair.last).name
        for pair in _pairs(model)
        if pair.first.name in rounded and pair.last.name not in rounded
    }


def multiply_last_layers(encoded: onnx.ModelProto) -> None:
    """Write the two layers as matrix products over the pixels, in place, if the first is int8 and both have a bias."""
    shapes = shapes_of(encoded)
    for pair in list(_pairs(encoded)):
        made_by = {name: node for node in encoded.graph.node for name in node.output}
        dequantised = [made_by.get(name) for name in pair.first.input]
        shape = shapes.get(pair.first.input[0], [])
        complete = len(dequantised) == len(pair.last.input) == 3 and len(shape) == 4 and all(shape[1:])
        if complete and all(node is not None and node.op_type == "DequantizeLinear" for node in dequantised):
            products = _products(encoded, pair, [node for node in dequantised if node is not None], shape)
            replaced = {pair.first.name, pair.last.name, *([pair.activation.name] if pair.activation else [])}
            place = next(index for index, node in enumerate(encoded.graph.node) if node.name == pair.last.name)
            nodes = [*encoded.graph.node[:place], *products, *encoded.graph.node[place + 1 :]]
            kept = [node for node in nodes if node.name not in replaced]
            del encoded.graph.node[:]
            encoded.graph.node.extend(kept)
    drop_unused(encoded)


def _products(
    model: onnx.ModelProto, pair: _Pair, dequantised: list[onnx.NodeProto], shape: list[int]
) -> list[onnx.NodeProto]:
    """Pixels as rows, channels as columns: the order in which ONNX Runtime keeps int8 maps, so no data is moved."""
    from onnx import helper, numpy_helper

    values, name = constants(model), f"{pair.first.name}.product"
    read, weight, bias = dequantised
    matrices = {
        "weight": np.ascontiguousarray(values[weight.input[0]][:, :, 0, 0].T),
        "last_weight": np.ascontiguousarray(values[pair.last.input[1]][:, :, 0, 0].T),
        "zero": np.array(0, np.float32),
        "rows_shape": np.array([-1, shape[1]], np.int64),
        "map_shape": np.array([-1, *shape[2:], len(values[pair.last.input[1]])], np.int64),
    }
    model.graph.initializer.extend(numpy_helper.from_array(array, f"{name}.{of}") for of, array in matrices.items())
    # The bias keeps its codes and its DequantizeLinear, which only the convolution read.
    nodes = [
        helper.make_node("Transpose", [read.input[0]], [f"{name}.last"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", [f"{name}.last", f"{name}.rows_shape"], [f"{name}.codes"]),
        helper.make_node("DequantizeLinear", [f"{name}.codes", *read.input[1:]], [f"{name}.rows"]),
        helper.make_node("DequantizeLinear", [f"{name}.weight", *weight.input[1:]], [f"{name}.columns"], axis=1),
        helper.make_node("Gemm", [f"{name}.rows", f"{name}.columns", bias.output[0]], [f"{name}.given"]),
    ]
    given = f"{name}.given"
    # Max and Min replace Relu and Clip: ONNX Runtime computes a product followed by those in float only.
    for kind, bound in zip(("Max", "Min"), _bounds(pair.activation, f"{name}.zero"), strict=False):
        if bound:
            nodes.append(helper.make_node(kind, [given, bound], [f"{name}.{kind.lower()}"]))
            given = f"{name}.{kind.lower()}"
    nodes += [
        helper.make_node("Gemm", [given, f"{name}.last_weight", pair.last.input[2]], [f"{name}.depths"]),
        helper.make_node("Reshape", [f"{name}.depths", f"{name}.map_shape"], [f"{name}.map"]),
        helper.make_node("Transpose", [f"{name}.map"], [pair.last.output[0]], perm=[0, 3, 1, 2]),
    ]
    for node in nodes:
        node.name = f"{node.op_type}.{node.output[0]}"
    return nodes


def _bounds(activation: onnx.NodeProto | None, zero: str) -> list[str]:
    """The tensors that hold the lower and upper bound of an activation function; an empty name where it has none."""
    if activation is None:
        return []
    return [zero] if activation.op_type == "Relu" else list(activation.input[1:])


def _pairs(model: onnx.ModelProto) -> Iterator[_Pair]:
    made_by = {name: node for node in model.graph.node for name in node.output}
    uses = Counter(name for node in model.graph.node for name in node.input)
    uses.update(output.name for output in model.graph.output)
    inside = {node.name for node in body(model, _CONV)}
    for last in model.graph.node:
        if last.op_type != "Conv" or last.name in inside or not _is_pointwise(last, model, made_by):
            continue
        between = made_by.get(last.input[0])
        activation = between if between is not None and between.op_type in ACTIVATIONS else None
        first = between if activation is None else made_by.get(activation.input[0])
        if first is None or first.op_type != "Conv" or not _is_pointwise(first, model, made_by):
            continue
        if uses[last.input[0]] == uses[first.output[0]] == 1:
            yield _Pair(first, activation, last)


def _is_pointwise(node: onnx.NodeProto, model: onnx.ModelProto, made_by: dict[str, onnx.NodeProto]) -> bool:
    """Whether it is a 1x1 convolution with one group, stride 1, no padding, and constant weights, in float or int8."""
    source = made_by.get(node.input[1])
    name = source.input[0] if source is not None and source.op_type == "DequantizeLinear" else node.input[1]
    shape = next((list(constant.dims) for constant in model.graph.initializer if constant.name == name), [])
    given = {attribute.name: list(attribute.ints) for attribute in node.attribute}
    return (
        shape[2:] == [1, 1]
        and groups(node) == 1
        and set(given.get("strides", [1])) == {1}
        and not any(given.get("pads", []))
    )
