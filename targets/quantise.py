"""Calibrating the fp32 model on the calibration pictures, once for all encodings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.errors import ModelError
from calibration.files import sha256_bytes
from calibration.progress import Progress
from targets.calibrated import Calibrated, encode_nodes, infer_encoded, infer_quantised, nodes_with, quantise
from targets.drift import measure_drift
from targets.encodings import S8, U8S8
from targets.equalise import channel_factors, divide_channels, measure_reach
from targets.gaussian import propagate
from targets.graph import DepthGraph
from targets.layers import conv_layers
from targets.learned import learned_ranges, read_ranges
from targets.nodes import ACTIVATIONS, LAYERS, body, inner
from targets.products import saturates_products
from targets.ranges import RANGED_ON, activations, measure_ranges, spread
from targets.reference import emulate_model, fold, infer_model
from targets.rounding import round_layers, round_nearest
from targets.sensitivity import (
    NOTICEABLE,
    NOTICEABLE_FOR_NOTHING,
    choose_float_layers,
    count_operations,
    fewest_float_layers,
    mean_error,
    measure_damage,
)
from targets.statistics import read_statistics
from targets.widening import divide_statistics, widen

if TYPE_CHECKING:
    import onnx

__all__ = ["RECIPE", "Budget", "calibrate"]

RECIPE = 9
"""Version of the way int8 models are made; an artefact of another version is out of date."""

_ROUNDED_ON = 32  # pictures on which rounding is learned
_TRIED_ON = 8  # pictures on which the layers' damage is measured
_ENCODINGS = S8, U8S8


@dataclass(frozen=True)
class Budget:
    """The mean relative depth error against fp32 that int8 may have, on pictures uint8 [N, H, W, 3]."""

    abs_rel: float
    images: NDArray[np.uint8]


_last: dict[tuple[object, ...], Calibrated] = {}


def calibrate(
    graph: DepthGraph, images: NDArray[np.uint8], progress: Progress, budget: Budget | None = None
) -> Calibrated:
    """Measure ranges on pictures uint8 [N, H, W, 3], round the weights and choose the layers that stay in float.

    With a `budget` these are the fewest that keep every encoding within it; where none do, all that may or none.
    The last result is cached, so that exporting to several targets calibrates once. Raises MissingRuntimeError without
    ONNX Runtime, ModelError when the model has nothing to quantise.
    """
    key = graph.sha256, _digest(images), None if budget is None else (budget.abs_rel, _digest(budget.images))
    if key not in _last:
        calibrated = _calibrate(graph, images, progress)
        if budget is None:
            calibrated = _keep_in_float(calibrated, images, progress)
        else:
            calibrated = _meet(budget, calibrated, graph, images, progress)
        _note_saturation(calibrated, images, progress)
        _last.clear()
        _last[key] = calibrated
    return _last[key]


def _calibrate(graph: DepthGraph, images: NDArray[np.uint8], progress: Progress) -> Calibrated:
    folded, images, read = fold(graph.model), spread(images, RANGED_ON), read_ranges(graph.model)
    # Learned ranges hold only for channels that are not rescaled.
    factors = [] if read else channel_factors(folded, measure_reach(folded, images, progress))
    model = divide_channels(folded, factors)
    nodes = inner(model, U8S8.kinds)
    layers = {name: layer for name, layer in conv_layers(model).items() if name in {node.name for node in nodes}}
    if not layers:
        raise ModelError(f"{graph.path} has no convolution that can be int8", fix="Build with --precision fp32")
    for kind, names in _layers_without_int8_kernel(model).items():
        progress.note(f"No runtime has int8 for {kind}: {', '.join(names)} in float32")
    names = activations(model, nodes)
    ranges = measure_ranges(model, images, names, progress)
    statistics = divide_statistics(read_statistics(graph.model), factors)
    ranges = {**widen(ranges, propagate(model, statistics, graph.input)), **learned_ranges(model, read)}
    if read:  # as the student was trained
        rounded = {name: round_nearest(layer) for name, layer in layers.items()}
    else:
        rounded = round_layers(model, layers, spread(images, _ROUNDED_ON), progress)
    return Calibrated(model, ranges, rounded)


def _keep_in_float(calibrated: Calibrated, images: NDArray[np.uint8], progress: Progress) -> Calibrated:
    """Without a budget: layers that int8 hurts noticeably stay in float, within FLOAT_SHARE of the arithmetic."""
    tried_on = spread(images, _TRIED_ON)
    exact = infer_model(calibrated.model, tried_on)
    lost = max(mean_error(infer_quantised(calibrated, encoding, tried_on), exact) for encoding in _ENCODINGS)
    if lost < NOTICEABLE_FOR_NOTHING:  # all layers together lose less than a single one may
        return calibrated
    damage = _damage(calibrated, tried_on, progress)
    chosen = choose_float_layers(damage, count_operations(calibrated.model), _behind_float(calibrated))
    return replace(calibrated, damage=damage, float_layers=tuple(chosen))


def _note_saturation(calibrated: Calibrated, images: NDArray[np.uint8], progress: Progress) -> None:
    """Report where this processor's int8 moves the depth away from the model's; on another it will not."""
    if not saturates_products():
        return
    tried_on, encoded = spread(images, _TRIED_ON), quantise(calibrated, U8S8)
    moved = mean_error(infer_model(encoded, tried_on), emulate_model(encoded, tried_on))
    if moved >= NOTICEABLE:
        progress.note(
            "This processor has no VNNI and saturates large int8 sums: that alone moves the depth of onnxruntime and "
            f"openvino by {moved:.1%} here; use fp32 on such a processor, or --max-drift"
        )


def _behind_float(calibrated: Calibrated) -> set[str]:
    """The layers that read the first layer's output, which is never rounded."""
    made_by = {name: node for node in calibrated.model.graph.node for name in node.output}

    def giving(name: str) -> str:
        node = made_by[name]
        return giving(node.input[0]) if node.op_type in ACTIVATIONS else node.name

    layers = conv_layers(calibrated.model)
    floats = layers.keys() - calibrated.rounded.keys()
    return {name for name in calibrated.rounded if giving(layers[name].source) in floats}


def _meet(
    budget: Budget, calibrated: Calibrated, graph: DepthGraph, images: NDArray[np.uint8], progress: Progress
) -> Calibrated:
    expected = infer_model(graph.model, budget.images)

    def drift(layers: tuple[str, ...]) -> float:
        tried = replace(calibrated, float_layers=layers)
        depths = (infer_quantised(tried, encoding, budget.images) for encoding in _ENCODINGS)
        return max(measure_drift(depth, expected).abs_rel for depth in depths)

    if drift(()) <= budget.abs_rel:
        return calibrated
    damage = _damage(calibrated, spread(images, _TRIED_ON), progress)
    with progress.task("Searching for the fewest float layers"):
        chosen = fewest_float_layers(damage, count_operations(calibrated.model), drift, budget.abs_rel)
    return replace(calibrated, damage=damage, float_layers=chosen)


def _damage(calibrated: Calibrated, images: NDArray[np.uint8], progress: Progress) -> dict[str, float]:
    def rounded(layer: str) -> Iterator[NDArray[np.float32]]:
        nodes = nodes_with(calibrated.model, layer)
        for encoding in _ENCODINGS:  # a layer that hurts in one of them stays in float in both
            yield infer_encoded(encode_nodes(calibrated, encoding, nodes), encoding, images)

    layers = [node.name for node in inner(calibrated.model, LAYERS & U8S8.kinds)]
    return measure_damage(infer_model(calibrated.model, images), layers, rounded, progress)


def _layers_without_int8_kernel(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Layers of kinds that no encoding rounds, by kind."""
    found: dict[str, list[str]] = {}
    for node in body(model, LAYERS - U8S8.kinds):
        found.setdefault(node.op_type, []).append(node.name)
    return found


def _digest(images: NDArray[np.uint8]) -> str:
    return sha256_bytes(np.ascontiguousarray(images).data)
