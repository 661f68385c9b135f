"""Padding the channels of depthwise convolutions, so that ONNX Runtime can use its fast int8 kernel.

Its kernel for x86 needs a multiple of 16 channels; for any other number a kernel two to three times slower is used.
Channels of zeros are added up to the next multiple of 16, which leaves the depth unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from targets.calibrated import Calibrated
from targets.channels import channel_groups
from targets.graph import copy_model
from targets.layers import ConvLayer, Weights, conv_layers, replace_weights

if TYPE_CHECKING:
    import onnx

__all__ = ["MULTIPLE", "pad_channels"]

MULTIPLE = 16


def pad_channels(calibrated: Calibrated) -> Calibrated:
    """The same with the channels of depthwise convolutions padded, where everything that touches them can be padded."""
    model = copy_model(calibrated.model)
    layers = conv_layers(model)
    padded = _padded_tensors(model, layers)
    changed, rounded = dict[str, Weights](), dict(calibrated.rounded)
    for layer in layers.values():
        inputs, outputs = padded.get(layer.source, 0), padded.get(layer.output, 0)
        if inputs or outputs:
            changed[layer.name] = _pad(layer.weights, layer, inputs, outputs)
            if layer.name in rounded:
                rounded[layer.name] = _pad(rounded[layer.name], layer, inputs, outputs)
    replace_weights(model, changed)
    for node in model.graph.node:
        if node.name in changed and layers[node.name].depthwise:
            for attribute in node.attribute:
                if attribute.name == "group":
                    attribute.i = len(changed[node.name].weight)
    del model.graph.value_info[:]
    return replace(calibrated, model=model, rounded=rounded)


def _padded_tensors(model: onnx.ModelProto, layers: Mapping[str, ConvLayer]) -> dict[str, int]:
    """By how many channels each tensor grows."""
    open_groups = {name: group for group in channel_groups(model) for name in group.tensors}
    grown: dict[str, int] = {}
    for start in (layer for layer in layers.values() if layer.depthwise and len(layer.weights.weight) % MULTIPLE):
        # A depthwise convolution has as many outputs as inputs, so what it reads and what it writes grow together.
        tensors, waiting = set[str](), [start.source, start.output]
        while waiting:
            name = waiting.pop()
            if name in tensors:
                continue
            if name not in open_groups:
                tensors.clear()
                break
            group = open_groups[name]
            tensors.update(group.tensors)
            for layer in (layers[other] for other in (*group.writers, *group.readers)):
                if layer.depthwise:
                    waiting += [end for end in (layer.source, layer.output) if end not in tensors]
        grown |= dict.fromkeys(tensors, -len(start.weights.weight) % MULTIPLE)
    return grown


def _pad(weights: Weights, layer: ConvLayer, inputs: int, outputs: int) -> Weights:
    across = 0 if layer.depthwise else inputs
    weight = np.pad(weights.weight, ((0, outputs), (0, across), (0, 0), (0, 0)))
    scale: NDArray[np.float32] | None = None
    if weights.scale is not None:
        scale = np.pad(weights.scale, (0, outputs), constant_values=1)
    return Weights(weight, np.pad(weights.bias, (0, outputs)), scale)
