"""Fast bias correction: rounding a layer's weights shifts its mean output; the bias takes the shift back.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2, with the
mean input taken from the calibration pictures. The shift is linear in the input, so one pass measures all layers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.progress import Progress
from targets.graph import copy_model
from targets.reference import stream_tensors

if TYPE_CHECKING:
    import onnx

__all__ = ["correct_biases", "measure_shifts", "round_weights"]


def round_weights(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights [outputs, ...] rounded to int8 per output channel, symmetric, back in float."""
    largest = np.abs(weights).reshape(len(weights), -1).max(axis=1).reshape(-1, *[1] * (weights.ndim - 1))
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.round(weights / scale).astype(np.float32) * scale


def measure_shifts(
    model: onnx.ModelProto, layers: Collection[str], images: NDArray[np.uint8], progress: Progress
) -> dict[str, NDArray[np.float32]]:
    """By how much rounding its weights moves each convolution's mean output, per channel, by node name."""
    from onnx import helper, numpy_helper

    probe = copy_model(model)
    weights = {constant.name: constant for constant in model.graph.initializer}
    measured = [node for node in model.graph.node if node.name in layers and node.input[1] in weights]
    for node in measured:
        weight = numpy_helper.to_array(weights[node.input[1]])
        error = numpy_helper.from_array(round_weights(weight) - weight, f"{node.name}.error")
        conv = helper.make_node("Conv", [node.input[0], error.name], [f"{node.name}.moved"], name=f"{node.name}.moved")
        conv.attribute.extend(node.attribute)
        probe.graph.initializer.append(error)
        # GlobalAveragePool keeps its form over all opsets; ReduceMean's axes moved from attribute to input in 18.
        mean = helper.make_node("GlobalAveragePool", conv.output, [f"{node.name}.shift"], name=f"{node.name}.shift")
        probe.graph.node.extend([conv, mean])
    names = [f"{node.name}.shift" for node in measured]
    sums: list[NDArray[np.float64]] = [np.zeros(1)] * len(names)
    with progress.task("Measuring what rounding moves", len(images)) as advance:
        for tensors in stream_tensors(probe, images, names):
            sums = [total + tensor.sum(axis=(0, 2, 3)) for total, tensor in zip(sums, tensors, strict=True)]
            advance(len(tensors[0]))
    return {node.name: (total / len(images)).astype(np.float32) for node, total in zip(measured, sums, strict=True)}


def correct_biases(
    model: onnx.ModelProto, shifts: Mapping[str, NDArray[np.float32]], layers: Collection[str]
) -> onnx.ModelProto:
    """A copy of the model whose named convolutions give their shift back in the bias."""
    from onnx import numpy_helper

    copy = copy_model(model)
    constants = {constant.name: numpy_helper.to_array(constant) for constant in copy.graph.initializer}
    for node in copy.graph.node:
        if node.name in layers and node.name in shifts:
            bias = constants[node.input[2]] if len(node.input) > 2 and node.input[2] else np.float32(0)
            name = f"{node.name}.bias"  # its own: exporters share equal constants between layers
            copy.graph.initializer.append(numpy_helper.from_array((bias - shifts[node.name]).astype(np.float32), name))
            del node.input[2:]
            node.input.append(name)
    return copy
