"""All 256 codes of int8 for activations that are never negative, without a zero-point.

TensorRT takes no zero-points, and a symmetric int8 spends half of its codes on negative numbers that ReLU never gives.
Such an activation is therefore moved down by half of its range: the bias of the convolution that writes it is lowered,
and the biases of those that read it compensate. The quantiser then saturates at the lowest code exactly where the ReLU
would, so the ReLU is dropped. This works only where no reader pads: padding adds zeros, and zero has moved.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from targets.graph import copy_model
from targets.layers import ConvLayer, Weights, constants, conv_layers, replace_weights
from targets.nodes import drop_unused

if TYPE_CHECKING:
    import onnx

__all__ = ["centre"]

_LOWEST, _CODES = 128, 255


def centre(
    model: onnx.ModelProto,
    ranges: Mapping[str, tuple[float, float]],
    rounded: Mapping[str, Weights],
    nodes: Collection[str],
) -> tuple[onnx.ModelProto, dict[str, tuple[float, float]], dict[str, Weights]]:
    """The model with its activations moved where possible, and the ranges and rounded weights to match.

    `nodes` are those that will be int8; the readers of a moved activation are among them.
    """
    copy = copy_model(model)
    layers = conv_layers(copy)
    weights = {name: rounded.get(name, layer.weights) for name, layer in layers.items()}
    moved_ranges, changed = dict(ranges), dict[str, Weights]()
    for layer, activation, readers in _movable(copy, layers, ranges, nodes):
        step = ranges[activation.output[0]][1] / _CODES
        down = _LOWEST * step
        given = weights[layer.name]
        weights[layer.name] = changed[layer.name] = Weights(given.weight, given.bias - np.float32(down), given.scale)
        for reader in readers:
            given = weights[reader.name]
            up = np.float32(down) * given.weight.sum(axis=(1, 2, 3))
            weights[reader.name] = changed[reader.name] = Weights(given.weight, given.bias + up, given.scale)
        # The symmetric range whose scale is `step`; there is one more code below zero than above.
        moved_ranges[layer.output] = (-step * (_LOWEST - 1), step * (_LOWEST - 1))
        for node in copy.graph.node:
            node.input[:] = [layer.output if name == activation.output[0] else name for name in node.input]
    replace_weights(copy, changed)
    drop_unused(copy)
    return copy, moved_ranges, {name: weights[name] for name in rounded}


def _movable(
    model: onnx.ModelProto,
    layers: Mapping[str, ConvLayer],
    ranges: Mapping[str, tuple[float, float]],
    nodes: Collection[str],
) -> list[tuple[ConvLayer, onnx.NodeProto, list[ConvLayer]]]:
    """(convolution, the ReLU or Clip behind it, the convolutions that read that) for every movable activation."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for value in model.graph.output:
        readers.setdefault(value.name, []).extend(model.graph.node[:1])  # read by whoever runs the model
    values, movable = constants(model), []
    for layer in layers.values():
        behind = readers.get(layer.output, [])
        if len(behind) != 1 or not _starts_at_zero(behind[0], values):
            continue
        following = readers.get(behind[0].output[0], [])
        inside = [layers[node.name] for node in following if node.name in layers and node.name in nodes]
        if not following or len(inside) < len(following) or any(any(reader.pads) for reader in inside):
            continue
        if ranges[behind[0].output[0]][1] > 0:
            movable.append((layer, behind[0], inside))
    return movable


def _starts_at_zero(node: onnx.NodeProto, values: Mapping[str, NDArray[np.float32]]) -> bool:
    if node.op_type == "Clip":
        lower = values.get(node.input[1]) if len(node.input) > 1 else None
        return lower is not None and float(lower) == 0
    return str(node.op_type) == "Relu"
