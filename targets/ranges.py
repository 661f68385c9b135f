"""One calibration: the range of every activation that an encoding rounds, from the calibration pictures.

Every encoding is written from the same ranges, so no target sees other pictures than another. The range covers all
but one in a hundred thousand values; examples/calibration/levers.py measured that against the extremes and others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.errors import ModelError
from calibration.progress import Progress
from targets.reference import stream_tensors

if TYPE_CHECKING:
    import onnx

__all__ = ["KEPT", "RANGED_ON", "Ranges", "activations", "find_extremes", "measure_ranges", "not_floats", "spread"]

Ranges = Mapping[str, tuple[float, float]]
"""Tensor name to the (lowest, highest) value that is to be represented."""

KEPT = 0.99999
"""Share of an activation's values that its range keeps on each side; the rest saturates."""

RANGED_ON = 64
"""Pictures on which ranges are measured: beyond, they grow no more than chance lets them."""

_BINS = 4096
_NARROWEST = 1e-30  # of a dead layer's range: narrower ones hold one value, as far as float32 can count bins
_COUNTED = 1 << 16
"""Of one picture's tensor at most about so many values are counted, evenly spread; the extremes are of all."""


def spread(images: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """`count` of the pictures, or all of fewer, evenly from the first to the last."""
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)
    return np.asarray(images[chosen])


def activations(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> list[str]:
    """The float tensors that `nodes` read and write, weights and other constants left out."""
    made = {name for node in model.graph.node if node.op_type != "Constant" for name in node.output} - not_floats(model)
    names = [name for node in nodes for name in (*node.input, *node.output) if name in made]
    return list(dict.fromkeys(names))


def not_floats(model: onnx.ModelProto) -> set[str]:
    """Tensors and constants of another element type than float32, as sizes are."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred}
    kinds |= {constant.name: constant.data_type for constant in model.graph.initializer}
    return {name for name, kind in kinds.items() if kind != onnx.TensorProto.FLOAT}


def find_extremes(
    model: onnx.ModelProto, images: NDArray[np.uint8], names: list[str], progress: Progress
) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of each tensor. Raises ModelError where one is not finite."""
    if not names:
        return {}
    low = dict.fromkeys(names, np.inf)
    high = dict.fromkeys(names, -np.inf)
    with progress.task("Finding the ranges of activations", len(images)) as advance:
        for tensors in stream_tensors(model, images, names, batch=1):
            for name, values in zip(names, tensors, strict=True):
                # numpy's minimum and maximum, because Python's forget a NaN.
                low[name] = float(np.minimum(low[name], values.min()))
                high[name] = float(np.maximum(high[name], values.max()))
            advance(len(tensors[0]))
    for name in names:
        if not (np.isfinite(low[name]) and np.isfinite(high[name])):
            raise ModelError(f"Activation {name!r} is not finite on the calibration pictures", fix="Train anew")
    return {name: (low[name], high[name]) for name in names}


def measure_ranges(
    model: onnx.ModelProto, images: NDArray[np.uint8], names: list[str], progress: Progress, kept: float = KEPT
) -> dict[str, tuple[float, float]]:
    """The range of each tensor that keeps a share `kept` of its values on either side, 0 always within.

    Two passes over the pictures with one histogram a tensor: memory does not grow with the number of pictures.
    """
    extremes = find_extremes(model, images, names, progress)
    if kept >= 1:
        return {name: (min(low, 0.0), max(high, 0.0)) for name, (low, high) in extremes.items()}
    counts = {name: np.zeros(_BINS, np.int64) for name in names}
    with progress.task("Counting the values of activations", len(images)) as advance:
        for tensors in stream_tensors(model, images, names, batch=1):
            for name, values in zip(names, tensors, strict=True):
                low, high = extremes[name]
                if high - low > _NARROWEST:
                    # An odd step meets the rows and columns of enlarged maps alike.
                    counted = values.ravel()[:: values.size // _COUNTED | 1]
                    bins = ((counted - low) * ((_BINS - 1e-3) / (high - low))).astype(np.int32)
                    counts[name] += np.bincount(bins, minlength=_BINS)[:_BINS]
            advance(len(tensors[0]))
    return {name: _keeping(kept, counts[name], *extremes[name]) for name in names}


def _keeping(kept: float, counts: NDArray[np.int64], low: float, high: float) -> tuple[float, float]:
    total = counts.sum()
    if total == 0:  # one value everywhere
        return min(low, 0.0), max(high, 0.0)
    width = (high - low) / len(counts)
    below = np.cumsum(counts) / total
    first = int(np.searchsorted(below, 1 - kept))
    last = int(np.searchsorted(below, kept))
    return min(low + first * width, 0.0), max(low + (min(last, len(counts) - 1) + 1) * width, 0.0)
