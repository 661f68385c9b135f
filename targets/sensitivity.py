"""Which layers int8 hurts most, measured without labels; those few stay in float.

Each layer is rounded alone and the depth compared with the fp32 model's. In depth networks the damage sits in a
few early layers: of FastDepth's 38, one depthwise convolution of 16 channels causes most of it (README.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.progress import Progress
from targets.nodes import LAYERS, shapes_of

if TYPE_CHECKING:
    import onnx

__all__ = [
    "FLOAT_SHARE", "LARGEST_SHARE", "NOTICEABLE", "NOTICEABLE_FOR_NOTHING", "choose_float_layers", "count_operations",
    "fewest_float_layers", "mean_error", "measure_damage",
]  # fmt: skip

FLOAT_SHARE = 0.10
"""At most this share of the network's multiplications stays in float."""

LARGEST_SHARE = 0.5
"""The same where a drift budget asks for it: beyond, little of int8 is left."""

NOTICEABLE = 0.006
"""A layer that moves depth by less than this share of its mean stays in int8."""

NOTICEABLE_FOR_NOTHING = 0.003
"""The same for a layer that reads the first layer's output: its input is float anyway, so float costs hardly more."""


def measure_damage(
    reference: NDArray[np.float32],
    layers: Sequence[str],
    rounded: Callable[[str], Iterable[NDArray[np.float32]]],
    progress: Progress,
) -> dict[str, float]:
    """By layer, mean depth error over mean depth: the worst of `rounded(layer)`, its depths with that layer in int8."""
    damage = {}
    with progress.task("Measuring the int8 error of each layer", len(layers)) as advance:
        for layer in layers:
            damage[layer] = max(mean_error(depth, reference) for depth in rounded(layer))
            advance(1)
    return damage


def mean_error(depth: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Mean error over mean depth; not pixel by pixel, because a network may give 0 here and there."""
    return float(np.mean(np.abs(depth - reference)) / max(float(np.mean(np.abs(reference))), 1e-6))


def choose_float_layers(
    damage: Mapping[str, float], operations: Mapping[str, int], behind_float: Collection[str]
) -> list[str]:
    """The layers to leave in float: the most damaging first, within FLOAT_SHARE of all `operations`.

    `behind_float` names the layers that read a float layer's output.
    """
    budget = FLOAT_SHARE * sum(operations.values())
    chosen = []
    for layer in sorted(damage, key=lambda name: (-damage[name], name)):
        limit = NOTICEABLE_FOR_NOTHING if layer in behind_float else NOTICEABLE
        if damage[layer] >= limit and operations[layer] <= budget:
            budget -= operations[layer]
            chosen.append(layer)
    return chosen


def fewest_float_layers(
    damage: Mapping[str, float],
    operations: Mapping[str, int],
    drift: Callable[[tuple[str, ...]], float],
    budget: float,
) -> tuple[str, ...]:
    """The fewest layers, the most damaging first, with which `drift(layers)` is at most `budget`.

    At most LARGEST_SHARE of all `operations` go to float. Where that is not enough, returns those tried with the least
    drift.
    """
    allowed = LARGEST_SHARE * sum(operations.values())
    order: list[str] = []
    for layer in sorted(damage, key=lambda name: (-damage[name], name)):
        if operations[layer] <= allowed:
            allowed -= operations[layer]
            order.append(layer)
    tried: dict[tuple[str, ...], float] = {}

    def meets(layers: tuple[str, ...]) -> bool:
        if layers not in tried:
            tried[layers] = drift(layers)
        return tried[layers] <= budget

    short, enough = -1, len(order)
    if not meets(tuple(order)):
        meets(())
        return min(tried, key=lambda layers: (tried[layers], len(layers)))
    while enough - short > 1:  # bisect: how many of the most damaging layers?
        middle = (short + enough) // 2
        short, enough = (short, middle) if meets(tuple(order[:middle])) else (middle, enough)
    chosen = tuple(order[:enough])
    for layer in order[:enough][::-1]:  # damages do not quite add up: one may be needless beside the others
        without = tuple(name for name in chosen if name != layer)
        if meets(without):
            chosen = without
    return chosen


def count_operations(model: onnx.ModelProto) -> dict[str, int]:
    """Multiplications of each layer for one picture, by node name; sizes that cannot be inferred count as 1."""
    shapes = shapes_of(model) | {constant.name: list(constant.dims) for constant in model.graph.initializer}
    counts = {}
    for node in model.graph.node:
        if node.op_type not in LAYERS:
            continue
        given, weight, output = (shapes.get(name, []) for name in (*node.input[:2], node.output[0]))
        if node.op_type in ("Conv", "ConvTranspose"):  # each weight is applied at every place of the smaller map
            counts[node.name] = _product(weight) * _product((output if node.op_type == "Conv" else given)[2:])
        else:  # each output value is a sum over the input's last axis
            transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
            counts[node.name] = _product(output[1:]) * _product(given[:1] if transposed else given[-1:])
    return counts


def _product(sizes: Sequence[int]) -> int:
    return math.prod(max(size, 1) for size in sizes)
