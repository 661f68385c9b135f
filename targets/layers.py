"""The convolutions of a folded model, and replacing their weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from targets.nodes import read_by

if TYPE_CHECKING:
    import onnx

__all__ = ["ConvLayer", "Weights", "activation_bounds", "constants", "conv_layers", "groups", "replace_weights"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """A convolution's weights, float32 [outputs, inputs / groups, height, width], and bias [outputs].

    `scale` [outputs] is set where the weights lie on an int8 grid: each is a whole number in -127..127 times its scale.
    """

    weight: Array
    bias: Array
    scale: Array | None = None


@dataclass(frozen=True)
class ConvLayer:
    """A two-dimensional convolution with constant weights."""

    name: str
    source: str  # the activation it reads
    output: str
    weights: Weights
    groups: int
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]  # top, left, bottom, right
    dilations: tuple[int, int]

    @property
    def depthwise(self) -> bool:
        """Whether every input channel has its own weights and its own output."""
        return 1 < self.groups == len(self.weights.weight) == self.inputs

    @property
    def inputs(self) -> int:
        """Channels of what it reads."""
        return int(self.weights.weight.shape[1]) * self.groups


def constants(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """The model's constants by name."""
    from onnx import numpy_helper

    return {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}


def activation_bounds(node: onnx.NodeProto, values: Mapping[str, NDArray[np.float32]]) -> tuple[float, float]:
    """The bounds of an activation function; infinite where a Clip has none that is constant, and for other nodes."""
    if node.op_type == "Relu":
        return 0.0, math.inf
    low, high = ([*node.input[1:], "", ""])[:2] if node.op_type == "Clip" else ("", "")
    return float(values[low]) if low in values else -math.inf, float(values[high]) if high in values else math.inf


def groups(node: onnx.NodeProto) -> int:
    """The `group` attribute of a convolution."""
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)


def conv_layers(model: onnx.ModelProto) -> dict[str, ConvLayer]:
    """The two-dimensional convolutions with constant weights and explicit padding, by node name."""
    values = constants(model)
    layers = {}
    for node in model.graph.node:
        given = {attribute.name: attribute for attribute in node.attribute}
        automatic = "auto_pad" in given and given["auto_pad"].s not in (b"NOTSET", b"")
        if node.op_type != "Conv" or automatic or values.get(node.input[1], np.empty(0)).ndim != 4:
            continue
        weight = values[node.input[1]]
        bias = values.get(node.input[2]) if len(node.input) > 2 else None
        if bias is None and len(node.input) > 2 and node.input[2]:
            continue  # a computed bias

        def pair(name: str, given: Mapping[str, onnx.AttributeProto] = given) -> tuple[int, int]:
            first, second = given[name].ints if name in given else (1, 1)
            return int(first), int(second)

        top, left, bottom, right = given["pads"].ints if "pads" in given else (0, 0, 0, 0)
        layers[node.name] = ConvLayer(
            name=node.name,
            source=node.input[0],
            output=node.output[0],
            weights=Weights(weight, np.zeros(len(weight), np.float32) if bias is None else bias),
            groups=groups(node),
            strides=pair("strides"),
            pads=(int(top), int(left), int(bottom), int(right)),
            dilations=pair("dilations"),
        )
    return layers


def replace_weights(model: onnx.ModelProto, weights: Mapping[str, Weights]) -> None:
    """Give the named convolutions of `model` these weights, in place."""
    from onnx import numpy_helper

    graph = model.graph
    readers = Counter(name for node in graph.node for name in read_by(node))
    taken = {value.name for value in (*graph.initializer, *graph.input)} | {o for n in graph.node for o in n.output}
    replaced: set[str] = set()
    new: list[onnx.TensorProto] = []
    for node in graph.node:
        if node.name not in weights:
            continue
        own = {name for name in node.input[1:] if readers[name] == 1}
        given, names = weights[node.name], []
        for kind, values in (("weight", given.weight), ("bias", given.bias)):
            # Under unique names: exporters share equal constants between layers.
            name = f"{node.name}.{kind}"
            while name in taken and name not in own:
                name += "_"
            new.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
            names.append(name)
        replaced.update(node.input[1:])
        taken.update(names)
        del node.input[1:]
        node.input.extend(names)
    read = {name for node in graph.node for name in read_by(node)} | {output.name for output in graph.output}
    made = {tensor.name for tensor in new}
    kept = [one for one in graph.initializer if one.name not in made and (one.name in read or one.name not in replaced)]
    del graph.initializer[:]  # only once: deleted elements keep their memory as long as the model lives
    graph.initializer.extend([*kept, *new])
