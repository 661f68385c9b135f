"""Measuring the range of every activation that an encoding rounds, on the calibration pictures.

Every encoding is written from the same ranges, so all targets see the same pictures. A range leaves out one in a
hundred thousand values on either side; examples/calibration/levers.py compares that with the extremes and others.
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
"""Pictures on which ranges are measured: with more, ranges grow only by chance."""

_BINS = 4096
_NARROWEST = 1e-30  # narrower ranges, of dead layers, count as one value: too narrow for bins in float32
_COUNTED = 1 << 16
"""At most about this many values of one picture's tensor are counted, evenly spread; the extremes use all."""


def spread(images: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """`count` of the pictures, evenly from the first to the last; all where there are fewer."""
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)
    return np.asarray(images[chosen])


def activations(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> list[str]:
    """The float tensors that `nodes` read and write, without weights and other constants."""
    made = {name for node in model.graph.node if node.op_type != "Constant" for name in node.output} - not_floats(model)
    names = [name for node in nodes for name in (*node.input, *node.output) if name in made]
    return list(dict.fromkeys(names))


def not_floats(model: onnx.ModelProto) -> set[str]:
    """Tensors and constants whose element type is not float32, such as sizes."""
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
    with progress.task("Measuring the ranges of activations", len(images)) as advance:
        for tensors in stream_tensors(model, images, names, batch=1):
            for name, values in zip(names, tensors, strict=True):
                # numpy's minimum and maximum, because Python's lose a NaN.
                low[name] = float(np.minimum(low[name], values.min()))
                high[name] = float(np.maximum(high[name], values.max()))
            advance(len(tensors[0]))
    for name in names:
        if not (np.isfinite(low[name]) and np.isfinite(high[name])):
            raise ModelError(f"Activation {name!r} is not finite on the calibration pictures", fix="Retrain the model")
    return {name: (low[name], high[name]) for name in names}


def measure_ranges(
    model: onnx.ModelProto, images: NDArray[np.uint8], names: list[str], progress: Progress, kept: float = KEPT
) -> dict[str, tuple[float, float]]:
    """The range of each tensor that keeps a share `kept` of its values on either side; it always includes 0.

    Two passes over the pictures with one histogram per tensor: memory does not grow with the number of pictures.
    """
    extremes = find_extremes(model, images, names, progress)
    if kept >= 1:
        return {name: (min(low, 0.0), max(high, 0.0)) for name, (low, high) in extremes.items()}
    counts = {name: np.zeros(_BINS, np.int64) for name in names}
    with progress.task("Building histograms of activations", len(images)) as advance:
        for tensors in stream_tensors(model, images, names, batch=1):
            for name, values in zip(names, tensors, strict=True):
                low, high = extremes[name]
                if high - low > _NARROWEST:
                    # An odd step samples even and odd columns of enlarged maps alike.
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
