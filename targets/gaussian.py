"""What activations look like by the stored statistics alone: no picture is run through the network.

Every channel behind a BatchNorm is assumed to be normally distributed with the stored mean and deviation, and is
followed through the operators up to the next one, as in Nagel et al., "Data-Free Quantization Through Weight
Equalization and Bias Correction", ICCV 2019, sections 4.2 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from targets.input import InputSpec
from targets.layers import ConvLayer, activation_bounds, constants, conv_layers
from targets.nodes import ACTIVATIONS
from targets.statistics import ChannelStatistics

if TYPE_CHECKING:
    import onnx

__all__ = ["DEVIATIONS", "Gaussian", "propagate", "share_above"]

DEVIATIONS = 6.0
"""How many deviations around its mean a channel is assumed to reach (Nagel et al. use six)."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Gaussian:
    """Per channel [C]: mean, deviation, and the lowest and highest value it is assumed to reach."""

    mean: Array
    deviation: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, mean: Array, deviation: Array) -> Gaussian:
        """A normal distribution that reaches DEVIATIONS deviations to either side."""
        reach = DEVIATIONS * deviation
        return cls(mean, deviation, mean - reach, mean + reach)


def propagate(
    model: onnx.ModelProto, statistics: Mapping[str, ChannelStatistics], spec: InputSpec
) -> dict[str, Gaussian]:
    """The distribution of the activations behind the pre-processing, by tensor name.

    The output of an operator with unknown effect is left out, and all that depends on it up to the next stored
    statistics. Without any statistics the result is empty: pixels alone do not give a distribution of activations.
    """
    if not statistics:
        return {}
    values, layers = constants(model), conv_layers(model)
    known: dict[str, Gaussian] = {}
    for node in model.graph.node:
        layer = layers.get(node.name)
        if layer is not None:
            if not known and layer.inputs == len(spec.mean):  # others do not read the pixels directly
                known[layer.source] = _pictures(spec)
            stored = statistics.get(layer.name)
            if stored is not None:
                known[layer.output] = Gaussian.of(stored.mean.astype(np.float64), stored.deviation.astype(np.float64))
            elif layer.source in known:
                known[layer.output] = _convolved(known[layer.source], layer)
            continue
        read = [known[name] for name in node.input if name in known]
        if not read or len(read) < sum(1 for name in node.input if name and name not in values):
            continue
        if node.op_type in ACTIVATIONS:
            known[node.output[0]] = _clipped(read[0], *activation_bounds(node, values))
        elif node.op_type in ("Resize", "MaxPool", "AveragePool", "GlobalAveragePool"):
            known[node.output[0]] = read[0]
        elif node.op_type == "Add" and len(read) == 2:
            known[node.output[0]] = _added(*read)
    return known


def share_above(value: float, gaussian: Gaussian) -> Array:
    """Share of each channel [C] that lies above `value`."""
    return _above((value - gaussian.mean) / np.maximum(gaussian.deviation, 1e-12))


def _pictures(spec: InputSpec) -> Gaussian:
    """Normalised pixels, all values equally likely."""
    mean, std = np.array(spec.mean), np.array(spec.std)
    low, high = -mean / std, (1 - mean) / std
    return Gaussian((low + high) / 2, (high - low) / math.sqrt(12), low, high)


def _convolved(source: Gaussian, layer: ConvLayer) -> Gaussian:
    weight = layer.weights.weight.astype(np.float64).sum(axis=(2, 3))
    squares = np.square(layer.weights.weight.astype(np.float64)).sum(axis=(2, 3))
    mean = source.mean.reshape(layer.groups, 1, -1)
    variance = np.square(source.deviation).reshape(layer.groups, 1, -1)
    rows = (layer.groups, -1, weight.shape[1])
    total = (weight.reshape(rows) * mean).sum(axis=2).ravel() + layer.weights.bias
    return Gaussian.of(total, np.sqrt((squares.reshape(rows) * variance).sum(axis=2).ravel()))


def _clipped(source: Gaussian, low: float, high: float) -> Gaussian:
    """A normal distribution clipped at both ends: what lies beyond an end is counted at it."""
    deviation = np.maximum(source.deviation, 1e-12)
    a, b = (low - source.mean) / deviation, (high - source.mean) / deviation
    below, above = 1 - _above(a), _above(b)
    inside = 1 - below - above
    density_a, density_b = _density(a), _density(b)
    bottom, top = (0.0 if math.isinf(end) else end for end in (low, high))  # an infinite end holds nothing
    mean = source.mean * inside + deviation * (density_a - density_b) + bottom * below + top * above
    near, far = (np.where(np.isinf(end), 0, end) for end in (a, b))
    second = (
        (np.square(source.mean) + np.square(deviation)) * inside
        + 2 * source.mean * deviation * (density_a - density_b)
        + np.square(deviation) * (near * density_a - far * density_b)
        + bottom**2 * below
        + top**2 * above
    )
    variance = np.maximum(second - np.square(mean), 0)
    return Gaussian(mean, np.sqrt(variance), source.low.clip(low, high), source.high.clip(low, high))


def _added(first: Gaussian, second: Gaussian) -> Gaussian:
    deviation = np.hypot(first.deviation, second.deviation)
    return Gaussian(first.mean + second.mean, deviation, first.low + second.low, first.high + second.high)


def _density(x: Array) -> Array:
    return np.exp(-np.square(x) / 2) / math.sqrt(2 * math.pi)


def _above(x: Array) -> Array:
    """Share of the standard normal distribution above x."""
    return np.array([math.erfc(value / math.sqrt(2)) / 2 for value in np.ravel(x)]).reshape(np.shape(x))
