"""Rounding weights to int8 so that the layer's output moves least, learned from what the layer reads.

The nearest whole number is best for each weight alone, not for a sum of them: errors of neighbours that always fire
together add up. Weights are rounded one after the other, and those still to come compensate, as far as possible, for
what each moves the output by (Frantar et al., "GPTQ", ICLR 2023, after Hassibi and Stork's optimal brain surgeon).
The bias then corrects the mean error that is left (Nagel et al., ICCV 2019, section 4.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.progress import Progress
from targets.layers import ConvLayer, Weights
from targets.moments import PatchMoments, measure_moments

if TYPE_CHECKING:
    import onnx

__all__ = ["round_layer", "round_layers", "round_nearest"]

_LARGEST = 127  # codes are symmetric: TensorRT takes no zero-point
_BARELY = 1e-4  # the step of a layer whose weights are all 0
_DAMPING = 1e-2
"""Share of the mean variance that is added to each: keeps the weights of inputs that never vary where they are."""

_HELD = 256 << 20
"""Bytes of covariances held at once."""

Float64 = NDArray[np.float64]


def round_layers(
    model: onnx.ModelProto,
    layers: Mapping[str, ConvLayer],
    images: NDArray[np.uint8],
    progress: Progress,
    *,
    learned: bool = True,
) -> dict[str, Weights]:
    """Rounded weights and corrected bias of each of the layers, by name; pictures are uint8 [N, H, W, 3].

    With `learned` off every weight goes to the nearest code: the baseline for learning.
    """
    rounded: dict[str, Weights] = {}
    for part in _parts(layers):
        moments = measure_moments(model, part, images, progress)
        rounded |= {name: round_layer(layer, moments[name], learned=learned) for name, layer in part.items()}
    return rounded


def _parts(layers: Mapping[str, ConvLayer]) -> Iterator[dict[str, ConvLayer]]:
    """The layers, as many at a time as memory allows."""
    part: dict[str, ConvLayer] = {}
    held = 0
    for name, layer in layers.items():
        needs = 8 * layer.groups * layer.weights.weight[0].size ** 2
        if part and held + needs > _HELD:
            yield part
            part, held = {}, 0
        part[name] = layer
        held += needs
    yield part


def round_layer(layer: ConvLayer, moments: PatchMoments, *, learned: bool = True) -> Weights:
    """Rounded weights and corrected bias of one layer."""
    rows, steps = _rows(layer)
    if learned and moments.covariance is not None:
        codes = _compensated(rows, steps, moments.covariance)
    else:
        codes = _nearest(rows, steps)
    moved = np.einsum("gok,gk->go", codes * steps - rows, moments.mean)
    return _weights(layer, codes, steps, layer.weights.bias - moved.ravel())


def round_nearest(layer: ConvLayer) -> Weights:
    """Weights rounded to the nearest code, and the bias as it is: for a layer that was trained that way."""
    rows, steps = _rows(layer)
    return _weights(layer, _nearest(rows, steps), steps, layer.weights.bias)


def _rows(layer: ConvLayer) -> tuple[Float64, Float64]:
    """Weights [groups, outputs, K] and the step of each output's codes [groups, outputs, 1]."""
    weight = layer.weights.weight
    rows = weight.reshape(layer.groups, len(weight) // layer.groups, -1).astype(np.float64)
    largest = np.abs(rows).max(axis=2)
    # Biases are encoded in the input's step times this one. An output whose weights are all 0, as after pruning, takes
    # the median of the layer's others.
    some = largest[largest > 0]
    largest = np.where(largest > 0, largest, np.median(some) if some.size else _LARGEST * _BARELY)
    scale = (largest / _LARGEST).astype(np.float32)
    return rows, scale.astype(np.float64)[:, :, None]


def _weights(layer: ConvLayer, codes: Float64, steps: Float64, bias: NDArray[np.floating]) -> Weights:
    return Weights(
        weight=(codes * steps).reshape(layer.weights.weight.shape).astype(np.float32),
        bias=bias.astype(np.float32),
        scale=steps.astype(np.float32).ravel(),
    )


def _nearest(rows: Float64, steps: Float64) -> Float64:
    return np.round(rows / steps).clip(-_LARGEST, _LARGEST)


def _compensated(rows: Float64, steps: Float64, covariance: Float64) -> Float64:
    """Codes [groups, outputs, K] of rows of weights, each rounding error passed on to the weights after it."""
    size = rows.shape[2]
    variance = np.einsum("gkk->gk", covariance).mean(axis=1).clip(1e-12)
    damped = covariance + _DAMPING * variance[:, None, None] * np.eye(size)
    # Row i of the inverse's upper Cholesky factor says how the weights after i compensate for a change of weight i.
    try:
        answers = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    except np.linalg.LinAlgError:  # linearly dependent inputs: no weight to pass errors on to
        if len(rows) == 1:
            return _nearest(rows, steps)
        alone = [slice(group, group + 1) for group in range(len(rows))]  # the others are rounded as they would be
        return np.concatenate([_compensated(rows[one], steps[one], covariance[one]) for one in alone])
    rest, codes = rows.copy(), np.empty_like(rows)
    for index in range(size):
        codes[:, :, index] = _nearest(rest[:, :, index], steps[:, :, 0])
        error = (rest[:, :, index] - codes[:, :, index] * steps[:, :, 0]) / answers[:, index, index, None]
        rest[:, :, index + 1 :] -= error[:, :, None] * answers[:, None, index, index + 1 :]
    return codes
