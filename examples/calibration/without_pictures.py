"""Calibrates without any pictures: channels, ranges and biases come from the scale and shift of the BatchNorm layers.

As in Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.errors import ModelError
from targets.calibrated import Calibrated
from targets.encodings import U8S8
from targets.equalise import channel_factors, divide_channels
from targets.gaussian import Gaussian, propagate
from targets.graph import DepthGraph
from targets.layers import ConvLayer, conv_layers
from targets.moments import PatchMoments
from targets.nodes import inner
from targets.ranges import activations
from targets.reference import fold
from targets.rounding import round_layer
from targets.statistics import read_statistics
from targets.widening import divide_statistics


def calibrate_without_pictures(graph: DepthGraph) -> Calibrated:
    """Raises ModelError when the model stores no statistics, or they cannot be followed through an operator."""
    folded, statistics = fold(graph.model), read_statistics(graph.model)
    if not statistics:
        raise ModelError(f"{graph.path} stores no statistics", fix="Export it again from a network with BatchNorm")
    known = propagate(folded, statistics, graph.input)
    reach = {name: np.maximum(-found.low, found.high).astype(np.float32) for name, found in known.items()}
    factors = channel_factors(folded, reach, equalising=1.0)
    model = divide_channels(folded, factors)
    known = propagate(model, divide_statistics(statistics, factors), graph.input)
    names = activations(model, inner(model, U8S8.kinds))
    if missing := [name for name in names if name not in known]:
        raise ModelError(f"No statistics can be followed to {missing[0]!r}", fix="Calibrate on pictures")
    ranges = {name: _range(known[name]) for name in names}
    inside = {node.name for node in inner(model, frozenset({"Conv"}))}
    layers = {name: layer for name, layer in conv_layers(model).items() if name in inside}
    rounded = {name: round_layer(layer, _moments(layer, known[layer.source])) for name, layer in layers.items()}
    return Calibrated(model, ranges, rounded)


def _range(found: Gaussian) -> tuple[float, float]:
    return min(float(found.low.min()), 0.0), max(float(found.high.max()), 0.0)


def _moments(layer: ConvLayer, source: Gaussian) -> PatchMoments:
    """The mean of every input channel at all of its places; without pictures there is no covariance."""
    places = layer.weights.weight[0, 0].size
    mean: NDArray[np.float64] = np.repeat(source.mean.reshape(layer.groups, -1), places, axis=1)
    return PatchMoments(mean, None)
