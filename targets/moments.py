"""What a convolution reads, as far as rounding its weights depends on it: mean and covariance of its input patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.progress import Progress
from targets.layers import ConvLayer
from targets.reference import stream_tensors

if TYPE_CHECKING:
    import onnx

__all__ = ["PatchMoments", "measure_moments", "patches"]

_PLACES = 1024
"""About how many places of a picture are used at most: neighbours are alike."""


_WIDEST = 4096
"""Input values per output beyond which their covariance is too large to be of use."""


@dataclass(frozen=True)
class PatchMoments:
    """Moments over pictures and places of the K values that one output is computed from, for each group."""

    mean: NDArray[np.float64]  # [groups, K]
    covariance: NDArray[np.float64] | None  # [groups, K, K]; None where K is too large


def measure_moments(
    model: onnx.ModelProto, layers: Mapping[str, ConvLayer], images: NDArray[np.uint8], progress: Progress
) -> dict[str, PatchMoments]:
    """The moments of each of the layers on pictures uint8 [N, H, W, 3], by name."""
    sources = list(dict.fromkeys(layer.source for layer in layers.values()))
    narrow = {name for name, layer in layers.items() if layer.weights.weight[0].size <= _WIDEST}
    sums: dict[str, NDArray[np.float64]] = {}
    squares: dict[str, NDArray[np.float64]] = {}
    counts = dict.fromkeys(layers, 0)
    with progress.task("Measuring the inputs of layers", len(images)) as advance:
        for tensors in stream_tensors(model, images, sources, batch=1):
            read = dict(zip(sources, tensors, strict=True))
            for name, layer in layers.items():
                seen = patches(read[layer.source], layer)
                _add(sums, name, seen.sum(axis=1, dtype=np.float64))
                if name in narrow:
                    _add(squares, name, (seen.transpose(0, 2, 1) @ seen).astype(np.float64))
                counts[name] += seen.shape[1]
            advance(1)
    moments = {}
    for name, count in counts.items():
        mean = sums[name] / count
        covariance = None
        if name in narrow:
            covariance = squares[name] / count - mean[:, :, None] * mean[:, None, :]
        moments[name] = PatchMoments(mean, covariance)
    return moments


def _add(sums: dict[str, NDArray[np.float64]], name: str, values: NDArray[np.float64]) -> None:
    sums[name] = sums[name] + values if name in sums else values


def patches(tensor: NDArray[np.float32], layer: ConvLayer) -> NDArray[np.float32]:
    """Input patches [groups, places, K] of activations [N, C, H, W], K in the order of the layer's weights.

    Places lie an odd number of steps apart, so that even and odd rows of an enlarged map are sampled alike.
    """
    height, width = layer.weights.weight.shape[2:]
    top, left, bottom, right = layer.pads
    padded = np.pad(tensor, ((0, 0), (0, 0), (top, bottom), (left, right)))
    reach = tuple((size - 1) * step + 1 for size, step in zip((height, width), layer.dilations, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))
    windows = windows[:, :, :: layer.strides[0], :: layer.strides[1], :: layer.dilations[0], :: layer.dilations[1]]
    apart = max(1, round((windows.shape[2] * windows.shape[3] / _PLACES) ** 0.5)) | 1
    windows = windows[:, :, ::apart, ::apart]
    count, channels, rows, columns = windows.shape[:4]
    grouped = windows.reshape(count, layer.groups, channels // layer.groups, rows, columns, height, width)
    values = channels // layer.groups * height * width
    return grouped.transpose(1, 0, 3, 4, 2, 5, 6).reshape(layer.groups, count * rows * columns, values)
