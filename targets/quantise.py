"""From the fp32 model and the calibration pictures to int8: calibrated once, encoded for each runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.errors import ModelError
from calibration.files import sha256_bytes
from calibration.progress import Progress
from targets.bias import correct_biases, measure_shifts
from targets.encodings import S8, U8S8, Encoding, encode
from targets.graph import DepthGraph, body
from targets.ranges import Ranges, activations, measure_ranges
from targets.reference import fold, infer_model
from targets.sensitivity import NOTICEABLE, choose_float_layers, count_operations, mean_error, measure_damage

if TYPE_CHECKING:
    import onnx

__all__ = ["Calibrated", "calibrate", "quantise"]

_ACTIVATIONS = frozenset({"Clip", "Relu"})
_SHIFTED_ON = 32  # pictures on which biases are corrected
_TRIED_ON = 8  # pictures on which the layers' damage is measured


_last: dict[tuple[str, str], Calibrated] = {}


@dataclass(frozen=True)
class Calibrated:
    """What the calibration pictures decided, for every encoding alike."""

    model: onnx.ModelProto  # folded, in float
    ranges: Ranges
    shifts: Mapping[str, NDArray[np.float32]]  # what rounding the weights moves, for each layer's bias to take back
    float_layers: tuple[str, ...] = ()  # left in float because int8 hurts them, beside the output layer

    def settings(self, encoding: Encoding) -> dict[str, str]:
        """What an artefact records of this."""
        return {"encoding": encoding.name, "float_layers": ", ".join(self.float_layers)}


def calibrate(graph: DepthGraph, images: NDArray[np.uint8], progress: Progress) -> Calibrated:
    """Measure ranges on pictures uint8 [N, H, W, 3] and choose the layers that stay in float.

    The last answer is kept, so that exporting to several targets calibrates once. Raises MissingRuntimeError without
    ONNX Runtime, ModelError when the model has nothing to quantise.
    """
    key = graph.sha256, sha256_bytes(np.ascontiguousarray(images).data)
    if key not in _last:
        calibrated = _calibrate(graph, images, progress)
        _last.clear()
        _last[key] = calibrated
    return _last[key]


def _calibrate(graph: DepthGraph, images: NDArray[np.uint8], progress: Progress) -> Calibrated:
    model = fold(graph.model)
    nodes = body(model, U8S8.kinds)
    layers = [node.name for node in nodes if node.op_type == "Conv"]
    if not layers:
        raise ModelError(f"{graph.path} has no convolution that could be int8", fix="Build with --precision fp32")
    ranges = measure_ranges(model, images, activations(model, nodes), progress)
    shifts = measure_shifts(model, layers, _some(images, _SHIFTED_ON), progress)
    everything = Calibrated(model, ranges, shifts)
    tried_on = _some(images, _TRIED_ON)
    lost = mean_error(infer_model(quantise(everything, S8), tried_on), infer_model(model, tried_on))
    if lost < NOTICEABLE:  # all layers together lose less than one may: the usual case for a student
        return everything

    def round_one(layer: str) -> onnx.ModelProto:
        # With its activation: the layer's own output may need a far wider range than what the activation leaves of it.
        outputs = {name for node in nodes if node.name == layer for name in node.output}
        behind = [node.name for node in nodes if node.op_type in _ACTIVATIONS and node.input[0] in outputs]
        return _encode(everything, U8S8, [layer, *behind])

    damage = measure_damage(model, layers, round_one, tried_on, progress)
    return replace(everything, float_layers=tuple(choose_float_layers(damage, count_operations(model))))


def quantise(calibrated: Calibrated, encoding: Encoding) -> onnx.ModelProto:
    """The int8 model in `encoding`; pre-processing, output layer and the float layers stay in float32."""
    nodes = [node for node in body(calibrated.model, encoding.kinds) if node.name not in calibrated.float_layers]
    rounded = {name for node in nodes for name in node.output}
    # An activation behind a float layer stays in float with it.
    chosen = [node.name for node in nodes if node.op_type not in _ACTIVATIONS or node.input[0] in rounded]
    return _encode(calibrated, encoding, chosen)


def _encode(calibrated: Calibrated, encoding: Encoding, nodes: Sequence[str]) -> onnx.ModelProto:
    corrected = correct_biases(calibrated.model, calibrated.shifts, nodes)
    return encode(corrected, encoding, calibrated.ranges, nodes)


def _some(images: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """`count` of the pictures, spread over the set."""
    return images[:: max(1, len(images) // count)][:count]
