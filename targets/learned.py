"""Ranges learned while the student was trained in simulated int8, kept in the fp32 model's metadata.

They are stored by the name of the convolution that reads the activation. Where a model has them, they replace the
ranges measured on the calibration pictures. As in training, weights then go to the nearest code and biases stay as they
are.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from calibration.errors import ModelError
from targets.graph import metadata
from targets.layers import activation_bounds, constants, conv_layers

if TYPE_CHECKING:
    import onnx

__all__ = ["RANGES_KEY", "learned_ranges", "pack_ranges", "read_ranges"]

RANGES_KEY = "edgekd.ranges"

_KEEPING = frozenset({"Clip", "MaxPool", "Relu", "Resize"})
"""The input of such an operator may take its output's range: values beyond it are cut off or do not occur."""


def pack_ranges(ranges: Mapping[str, tuple[float, float]]) -> str:
    """As text for the metadata."""
    return json.dumps({name: [low, high] for name, (low, high) in ranges.items()})


def read_ranges(model: onnx.ModelProto) -> dict[str, tuple[float, float]]:
    """The range of each named convolution's input; empty where nothing was learned. Raises ModelError."""
    text = metadata(model).get(RANGES_KEY, "{}")
    try:
        found = {name: (float(low), float(high)) for name, (low, high) in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{RANGES_KEY} in the model's metadata cannot be read ({error})", fix="Export the model again"
        ) from error
    for name, (low, high) in found.items():
        if not (math.isfinite(high - low) and low <= 0 < high):
            raise ModelError(f"{RANGES_KEY} of {name} is not a range: {low} to {high}", fix="Export the model again")
    return found


def learned_ranges(model: onnx.ModelProto, read: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """The same by activation name, and for the tensors that reach it through `_KEEPING` operators alone.

    No wider than an activation function that gives the tensor: in int8 its codes' range stands for it.
    """
    layers, values = conv_layers(model), constants(model)
    made_by = {name: node for node in model.graph.node for name in node.output}
    read_by = Counter(name for node in model.graph.node for name in node.input)
    found: dict[str, tuple[float, float]] = {}
    for name, (low, high) in read.items():
        source = layers[name].source if name in layers else None
        while source is not None:
            before = found.get(source, (0.0, 0.0))
            node = made_by.get(source)
            least, most = (-math.inf, math.inf) if node is None else activation_bounds(node, values)
            low, high = max(low, min(least, 0.0)), min(high, max(most, 0.0))
            found[source] = min(low, before[0]), max(high, before[1])
            keeps = node is not None and node.op_type in _KEEPING and read_by[node.input[0]] == 1
            source = node.input[0] if node is not None and keeps else None
    return found
