"""Do a calibration set's ranges hold what the network will meet? Assessed layer by layer, from the set and the weights.

Three questions are asked. Do held-out pictures stay within the ranges? Do the ranges still grow with the number of
pictures? Would the pictures that the network was trained on, as far as its BatchNorm layers stored them, stay within?
The last agreed best with real pictures (README.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.progress import Progress
from targets.gaussian import Gaussian, propagate, share_above
from targets.graph import DepthGraph
from targets.layers import conv_layers
from targets.learned import learned_ranges, read_ranges
from targets.nodes import inner
from targets.ranges import RANGED_ON, Ranges, measure_ranges, spread
from targets.reference import fold, stream_tensors
from targets.statistics import read_statistics

if TYPE_CHECKING:
    import onnx

__all__ = ["GROWING", "UNCOVERED", "LayerCoverage", "measure_layers", "measure_saturation"]

UNCOVERED = 1e-4
"""Share of a layer's values, by the stored statistics, that may lie beyond its range. FastDepth's ranges leave
2e-5 from 64 or more simulated rooms, up to 1e-3 from eight (calibration/README.md), and 3e-2 from noise."""

GROWING = 0.1
"""The largest `growth` of a settled range. From 32 or more pictures up to two of FastDepth's ranges exceed it (0.25 the
worst), from 8 up to eight (0.67): calibration/README.md."""


@dataclass(frozen=True)
class LayerCoverage:
    """How well a set covers what one convolution reads."""

    layer: str
    activation: str  # what it reads
    low: float  # the range
    high: float
    saturated: float  # share of values on held-out pictures beyond the range
    growth: float  # ln of the range from all pictures over that from half of them, mean of both halves
    expected: float | None  # share of values above the range by the stored statistics, mean over channels

    @property
    def narrow(self) -> bool:
        """Whether too much lies beyond the range, by the stored statistics or, without any, on held-out pictures."""
        return (self.saturated if self.expected is None else self.expected) > UNCOVERED

    @property
    def weaknesses(self) -> tuple[str, ...]:
        """The range's weaknesses; empty where it is good enough."""
        found = []
        if self.narrow:
            found.append(
                "too narrow for the pictures " + ("held out" if self.expected is None else "it was trained on")
            )
        if self.growth > GROWING:
            found.append("still growing with the number of pictures")
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LayerCoverage:
        """The inverse of `to_json`."""
        return cls(**value)


def measure_layers(
    graph: DepthGraph, images: NDArray[np.uint8], held_out: NDArray[np.uint8], progress: Progress
) -> list[LayerCoverage]:
    """Coverage of every layer whose input int8 rounds, in the order of the graph: by the range that the pictures give,
    before int8 widens it, or the one that was learned.

    Pictures uint8 [N, H, W, 3]. Raises MissingRuntimeError without ONNX Runtime.
    """
    model = fold(graph.model)
    read = _read_by(model)
    names = list(dict.fromkeys(read.values()))
    chosen = spread(images, RANGED_ON)
    learned = learned_ranges(model, read_ranges(graph.model))
    ranges = dict(measure_ranges(model, chosen, names, progress))
    ranges.update({name: learned[name] for name in names if name in learned})
    halves = [measure_ranges(model, chosen[start::2], names, progress) for start in (0, 1)]
    saturated = measure_saturation(model, ranges, held_out, progress)
    stored = propagate(model, read_statistics(graph.model), graph.input)
    return [
        LayerCoverage(
            layer=layer,
            activation=name,
            low=ranges[name][0],
            high=ranges[name][1],
            saturated=saturated[name],
            growth=0.0 if name in learned else _growth(ranges[name], [half[name] for half in halves]),
            expected=_expected(stored.get(name), ranges[name]),
        )
        for layer, name in read.items()
    ]


def measure_saturation(
    model: onnx.ModelProto, ranges: Ranges, images: NDArray[np.uint8], progress: Progress
) -> dict[str, float]:
    """The share of each activation's values that lies beyond its range, on pictures uint8 [N, H, W, 3].

    `model` must name the activations as the folded model does.
    """
    names = list(ranges)
    beyond = dict.fromkeys(names, 0.0)
    with progress.task("Measuring saturation", len(images)) as advance:
        for tensors in stream_tensors(model, images, names, batch=1):
            for name, values in zip(names, tensors, strict=True):
                low, high = ranges[name]
                beyond[name] += float(np.mean((values < low) | (values > high))) / len(images)
            advance(1)
    return beyond


def _read_by(model: onnx.ModelProto) -> Mapping[str, str]:
    """The convolutions whose input int8 rounds, by name, and the activation that each reads."""
    layers = conv_layers(model)
    inside = [node.name for node in inner(model, frozenset({"Conv"})) if node.name in layers]
    return {name: layers[name].source for name in inside}


def _growth(whole: tuple[float, float], halves: Sequence[tuple[float, float]]) -> float:
    return float(np.mean([math.log(_width(whole) / _width(half)) for half in halves]))


def _width(found: tuple[float, float]) -> float:
    return max(found[1] - found[0], 1e-12)


def _expected(stored: Gaussian | None, found: tuple[float, float]) -> float | None:
    # Only above: below, a normal distribution overstates what ReLU and sums of its outputs give.
    return None if stored is None else float(share_above(found[1], stored).mean())
