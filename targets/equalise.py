"""Equalising channels: a factor per channel makes every channel of an activation fill the one range they share.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1,
with the ranges of activations instead of weights: weights have a scale per channel in every encoding, so only
activations suffer from channels of unequal size. Where only depthwise convolutions read an activation this is free,
because the scales of their weights absorb the factor. Where others read it, channels become more equal and weights less
so (Xiao et al., "SmoothQuant", ICML 2023); README.md has what that gains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.progress import Progress
from targets.channels import ChannelGroup, channel_groups
from targets.graph import copy_model
from targets.layers import ConvLayer, Weights, conv_layers, replace_weights
from targets.nodes import ACTIVATIONS
from targets.reference import stream_tensors

if TYPE_CHECKING:
    import onnx

__all__ = ["EQUALISING", "LARGEST_FACTOR", "SMOOTHING", "channel_factors", "divide_channels", "measure_reach"]

LARGEST_FACTOR = 64.0
"""A channel is enlarged by this at most: one that hardly fires on the calibration pictures may fire on others."""

EQUALISING, SMOOTHING = 0.5, 0.0
"""Exponents of the factors where only depthwise convolutions read the activation, and elsewhere: 1 makes all channels
fill the range, 0 leaves them as they are. A full range has no room for other pictures' values (README.md)."""

Array = NDArray[np.float32]


def channel_factors(
    model: onnx.ModelProto, reach: Mapping[str, Array], equalising: float = EQUALISING, smoothing: float = SMOOTHING
) -> list[tuple[ChannelGroup, Array]]:
    """Each channel group of a folded model and the divisors [C] of its channels, from its activations' `reach`."""
    layers = conv_layers(model)
    found = []
    for group in channel_groups(model):
        exponent = equalising if all(layers[name].depthwise for name in group.readers) else smoothing
        if exponent > 0:
            found.append((group, _factors(group, reach, exponent)))
    return found


def divide_channels(model: onnx.ModelProto, factors: Iterable[tuple[ChannelGroup, Array]]) -> onnx.ModelProto:
    """A copy of the model with its channels divided.

    Up to rounding, it gives the same depth for pictures whose activations stay within the factors' reach.
    """
    copy = copy_model(model)
    layers = conv_layers(copy)
    new = {name: layer.weights for name, layer in layers.items()}
    for group, divisors in factors:
        for name in group.writers:
            new[name] = Weights(new[name].weight / divisors.reshape(-1, 1, 1, 1), new[name].bias / divisors)
        for name in group.readers:
            new[name] = Weights(new[name].weight * _per_input(layers[name], divisors), new[name].bias)
    replace_weights(copy, new)
    return copy


def _factors(group: ChannelGroup, reach: Mapping[str, Array], exponent: float) -> Array:
    """What each channel is divided by [C], 1 for the largest."""
    largest = np.maximum.reduce([reach[name] for name in group.tensors if name in reach])
    least = 1 / LARGEST_FACTOR
    factors = np.maximum(largest / max(float(largest.max()), 1e-12), least) ** exponent
    for name, bound in group.bounds.items():
        # Divided, the values seen must stay below the Clip's bound; a factor above 1 would let larger ones pass.
        factors = factors.clip(np.clip(reach[name] / bound, least, 1), 1)
    rounded: Array = factors.astype(np.float32)
    return rounded


def _per_input(layer: ConvLayer, factors: Array) -> Array:
    shaped: Array = factors.reshape((-1, 1, 1, 1) if layer.depthwise else (1, -1, 1, 1))
    return shaped


def measure_reach(model: onnx.ModelProto, images: NDArray[np.uint8], progress: Progress) -> dict[str, Array]:
    """The largest magnitude of each channel [C] of every activation that can be equalised, over pictures uint8."""
    before = {node.input[0] for node in model.graph.node if node.op_type in ACTIVATIONS}
    before -= {name for node in model.graph.node if node.op_type not in ACTIVATIONS for name in node.input}
    # What an activation function alone reads is never rounded; a Clip's output is needed for its bound anyway.
    names = [
        name for group in channel_groups(model) for name in group.tensors if name not in before or name in group.bounds
    ]
    reach: dict[str, Array] = {}
    if not names:
        return reach
    with progress.task("Measuring channels", len(images)) as advance:
        for tensors in stream_tensors(model, images, names, batch=1):
            for name, values in zip(names, tensors, strict=True):
                seen = np.abs(values).max(axis=(0, 2, 3))
                reach[name] = np.maximum(reach[name], seen) if name in reach else seen
            advance(1)
    return reach
