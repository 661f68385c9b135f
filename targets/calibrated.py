"""What calibration decided about a model: one set of ranges and weights, from which every encoding is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from targets.centring import centre
from targets.encode import encode
from targets.encodings import Encoding
from targets.layers import Weights
from targets.nodes import ACTIVATIONS, GATES, LAYERS, feeding, inner
from targets.ranges import Ranges
from targets.reference import emulate_model, infer_model

if TYPE_CHECKING:
    import onnx

__all__ = ["Calibrated", "encode_nodes", "infer_encoded", "infer_quantised", "nodes_with", "quantise"]


@dataclass(frozen=True)
class Calibrated:
    """What the calibration pictures decided, for every encoding alike."""

    model: onnx.ModelProto  # folded and equalised, in float
    ranges: Ranges
    rounded: Mapping[str, Weights]  # each layer's weights where it is int8
    float_layers: tuple[str, ...] = ()  # left in float because int8 hurts them, besides the first and output layers
    damage: Mapping[str, float] = field(default_factory=dict)  # the cost of int8 in each layer alone, where measured

    def settings(self, encoding: Encoding) -> dict[str, str]:
        """What an artefact records of this."""
        return {"encoding": encoding.name, "float_layers": ", ".join(self.float_layers)}


def quantise(calibrated: Calibrated, encoding: Encoding) -> onnx.ModelProto:
    """The int8 model in `encoding`; pre-processing, first, output and float layers stay in float32."""
    nodes = [node for node in inner(calibrated.model, encoding.kinds) if node.name not in calibrated.float_layers]
    if calibrated.float_layers:  # rounding what they alone read would harm them and save nothing
        read = (name for node in nodes if node.op_type in LAYERS for name in node.input)
        needed = feeding(calibrated.model, read)
        nodes = [node for node in nodes if node.op_type in LAYERS | ACTIVATIONS or node.name in needed]
    rounded = {name for node in nodes for name in node.output}
    chosen: list[str] = []
    written: set[str] = set()
    for node in nodes:  # an activation or a gate behind a float layer stays in float with it
        if node.op_type in ACTIVATIONS and node.input[0] not in rounded:
            continue
        if node.op_type in GATES and not written.issuperset(node.input):
            continue
        chosen.append(node.name)
        written.update(node.output)
    return encode_nodes(calibrated, encoding, chosen)


def nodes_with(model: onnx.ModelProto, layer: str) -> list[str]:
    """A layer and its activation function: the layer's own output may need a far wider range than the function's."""
    outputs = {name for node in model.graph.node if node.name == layer for name in node.output}
    behind = [node.name for node in model.graph.node if node.op_type in ACTIVATIONS and node.input[0] in outputs]
    return [layer, *behind]


def encode_nodes(calibrated: Calibrated, encoding: Encoding, nodes: Sequence[str]) -> onnx.ModelProto:
    """The model with the named nodes in int8 and all others in float."""
    rounded = {name: weights for name, weights in calibrated.rounded.items() if name in nodes}
    model, ranges = calibrated.model, calibrated.ranges
    if encoding.signed:
        model, ranges, rounded = centre(model, ranges, rounded, nodes)
    return encode(model, encoding, ranges, rounded, nodes)


def infer_quantised(calibrated: Calibrated, encoding: Encoding, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Depth float32 [N, H, W] of the int8 model in `encoding`: run by ONNX Runtime if made for it, else in float."""
    return infer_encoded(quantise(calibrated, encoding), encoding, images)


def infer_encoded(model: onnx.ModelProto, encoding: Encoding, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The same for a model already written in `encoding`."""
    return emulate_model(model, images) if encoding.signed else infer_model(model, images)
