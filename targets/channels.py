"""Which activations share their channels, and so may be scaled channel by channel without changing the depth.

Between the convolutions that write an activation and those that read it, ReLU, pooling, resizing and adding commute
with a positive factor per channel: dividing the weights that write channel i by a factor and multiplying those that
read it by the same leaves the network's output unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from targets.layers import ConvLayer, constants, conv_layers

if TYPE_CHECKING:
    import onnx

__all__ = ["ChannelGroup", "channel_groups"]

_COMMUTING = frozenset({"Relu", "Clip", "Resize", "MaxPool", "AveragePool", "GlobalAveragePool", "Add"})


@dataclass(frozen=True)
class ChannelGroup:
    """Activations that must be scaled alike, the convolutions that write and read them, and the bounds that limit them.

    A Clip commutes only with factors that keep all values seen within its bound.
    """

    tensors: tuple[str, ...]
    writers: tuple[str, ...]  # names of convolutions
    readers: tuple[str, ...]
    bounds: Mapping[str, float]  # output of each Clip to its upper bound


def channel_groups(model: onnx.ModelProto) -> list[ChannelGroup]:
    """The groups of a folded model that no other operator touches, in the order of the graph."""
    values, layers = constants(model), conv_layers(model)
    groups = _Groups()
    closed = {value.name for value in (*model.graph.input, *model.graph.output)}
    for node in model.graph.node:
        layer = layers.get(node.name)
        if layer is not None and (layer.groups == 1 or layer.depthwise):
            groups.of(layer.source).readers.append(layer.name)
            groups.of(layer.output).writers.append(layer.name)
        elif node.op_type in _COMMUTING and _commutes(node, values):
            for name in node.input:
                if name and name not in values:
                    groups.join(name, node.output[0])
            if node.op_type == "Clip" and len(node.input) > 2 and node.input[2]:
                groups.of(node.output[0]).bounds[node.output[0]] = float(values[node.input[2]])
        else:
            closed.update((*node.input, *node.output))
    return [
        ChannelGroup(tuple(found.tensors), tuple(found.writers), tuple(found.readers), found.bounds)
        for found in groups.all()
        if found.writers and found.readers and not closed.intersection(found.tensors) and _one_width(found, layers)
    ]


def _one_width(found: _Found, layers: Mapping[str, ConvLayer]) -> bool:
    """Whether all have the same number of channels: an Add may broadcast one channel over many."""
    written = {len(layers[name].weights.weight) for name in found.writers}
    return len(written | {layers[name].inputs for name in found.readers}) == 1


def _commutes(node: onnx.NodeProto, values: Mapping[str, NDArray[np.float32]]) -> bool:
    read = [name for name in node.input if name and name not in values]
    if node.op_type == "Clip":
        lower = values.get(node.input[1]) if len(node.input) > 1 else None
        return len(read) == 1 and lower is not None and float(lower) == 0
    return len(read) == (2 if node.op_type == "Add" else 1)


class _Found:
    def __init__(self, name: str) -> None:
        self.tensors: dict[str, None] = {name: None}
        self.writers: list[str] = []
        self.readers: list[str] = []
        self.bounds: dict[str, float] = {}


class _Groups:
    """Tensors by the group they are in; joining two tensors joins their groups."""

    def __init__(self) -> None:
        self._of: dict[str, _Found] = {}

    def of(self, name: str) -> _Found:
        return self._of.setdefault(name, _Found(name))

    def join(self, first: str, second: str) -> None:
        one, other = self.of(first), self.of(second)
        if one is other:
            return
        one.tensors |= other.tensors
        one.writers += other.writers
        one.readers += other.readers
        one.bounds |= other.bounds
        for name in other.tensors:
            self._of[name] = one

    def all(self) -> Iterable[_Found]:
        return {id(found): found for found in self._of.values()}.values()
