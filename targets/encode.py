"""A model with an int8 encoding written into it, as QuantizeLinear/DequantizeLinear pairs around float operators."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.errors import ModelError
from targets.encodings import Encoding
from targets.graph import copy_model
from targets.layers import Weights, activation_bounds, constants, groups, replace_weights
from targets.nodes import drop_unused
from targets.pointwise import last_activations
from targets.reference import import_onnxruntime

if TYPE_CHECKING:
    import onnx

__all__ = ["encode"]

_MOVED_PAST = frozenset({"MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
"""The operators past which ONNX Runtime moves a DequantizeLinear (QDQPropagation)."""


def encode(
    model: onnx.ModelProto,
    encoding: Encoding,
    ranges: Mapping[str, tuple[float, float]],
    rounded: Mapping[str, Weights],
    nodes: Iterable[str],
) -> onnx.ModelProto:
    """A copy of `model` in which the named nodes are rounded to int8; `ranges` covers the activations they touch.

    Convolutions in `rounded` take their weights, biases and scales from there; other layers get the nearest codes.

    Raises MissingRuntimeError without ONNX Runtime, ModelError when the model cannot be encoded.
    """
    import_onnxruntime()
    copy = copy_model(model)
    replace_weights(copy, rounded)
    open_ends = {} if encoding.signed else last_activations(model, set(nodes))
    chosen = set(nodes) - set(open_ends.values()) - (set() if encoding.signed else _clips_excluding_zero(model))
    with _quiet():
        encoded = _with_pairs(copy, encoding, ranges, _overrides(copy, rounded), chosen)
    if encoding.signed:
        _free_fused_branches(encoded)
    else:
        _guard_float_layers(encoded)
        for name, reader in open_ends.items():
            next(node for node in encoded.graph.node if node.name == reader).input[0] = name
    drop_unused(encoded)
    return encoded


def _with_pairs(
    model: onnx.ModelProto,
    encoding: Encoding,
    ranges: Mapping[str, tuple[float, float]],
    overrides: Mapping[str, list[dict[str, Any]]],
    nodes: set[str],
) -> onnx.ModelProto:
    """What ONNX Runtime's quantiser makes of `model`, which it changes."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    kinds = sorted({node.op_type for node in model.graph.node if node.name in nodes} & encoding.kinds)
    limits = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    quantizer = QDQQuantizer(
        model,
        True,  # weights per channel
        False,  # use the whole range of 8 bits
        QuantType.QInt8,
        QuantType.QInt8 if encoding.signed else QuantType.QUInt8,
        TensorsData(CalibrationMethod.MinMax, limits),
        sorted(nodes),
        [],
        kinds,
        {
            "ActivationSymmetric": encoding.signed,
            "WeightSymmetric": True,
            "QuantizeBias": encoding.bias,
            "TensorQuantOverrides": overrides,
            "AddQDQPairToWeight": encoding.signed,  # TensorRT 8.5 takes weights only as float behind Q/DQ
            "OpTypesToExcludeOutputQuantization": [] if encoding.outputs else kinds,
        },
    )
    try:
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    except Exception as error:  # ValueError, KeyError, AssertionError...: all mean an unsuitable model
        raise ModelError(
            f"The model cannot be encoded as {encoding.name} ({error!r})", fix="Build with --precision fp32"
        ) from error
    encoded: onnx.ModelProto = quantizer.model.model
    return encoded


def _clips_excluding_zero(model: onnx.ModelProto) -> set[str]:
    """Clips whose bounds exclude 0. The quantiser drops a Clip and relies on the codes' range to clip; but every range
    includes 0, so these must stay."""
    values = constants(model)
    found = set()
    for node in model.graph.node:
        low, high = activation_bounds(node, values)
        if node.op_type == "Clip" and (low > 0 or high < 0):
            found.add(node.name)
    return found


def _overrides(model: onnx.ModelProto, rounded: Mapping[str, Weights]) -> dict[str, list[dict[str, Any]]]:
    """The scales of rounded weights per channel: ONNX Runtime would derive them from the largest weight."""
    zero = np.array(0, np.int8)
    scales = {node.input[1]: rounded[node.name].scale for node in model.graph.node if node.name in rounded}
    return {
        name: [{"axis": 0, "scale": step, "zero_point": zero} for step in steps]
        for name, steps in scales.items()
        if steps is not None
    }


def _free_fused_branches(model: onnx.ModelProto) -> None:
    """Take the Q/DQ pair off the branch of a residual Add that comes straight from a convolution.

    TensorRT fuses convolution and Add into one kernel when only the identity branch is rounded; with a pair between
    them it writes the convolution's output in 8 bits and adds in a second kernel.
    """
    made_by = {name: node for node in model.graph.node for name in node.output}
    for add in model.graph.node:
        if add.op_type != "Add":
            continue
        freed = False
        for index, name in enumerate(add.input):
            dequantise = made_by.get(name)
            quantise = made_by.get(dequantise.input[0]) if dequantise is not None else None
            if dequantise is None or quantise is None or dequantise.op_type != "DequantizeLinear":
                continue
            source = made_by.get(quantise.input[0])
            if source is not None and source.op_type == "Conv" and not freed:  # one branch only: the other is rounded
                add.input[index] = quantise.input[0]
                freed = True


def _guard_float_layers(model: onnx.ModelProto) -> None:
    """Give float layers that read an int8 activation a DequantizeLinear with a scale per channel, all equal. This
    includes transposed convolutions, which are always in float.

    ONNX Runtime's optimiser (WeightBiasQuantization) rounds the weights of a layer behind a DequantizeLinear to int8,
    with one scale for all: 1.21 always, 1.23 and newer where a QuantizeLinear follows. Behind a scale per channel it
    leaves them alone. It first moves a DequantizeLinear past the operators in `_MOVED_PAST`; behind those the codes are
    written once more, which changes no value.
    """
    from onnx import helper, numpy_helper

    made_by = {name: node for node in model.graph.node for name in node.output}
    values = constants(model)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        layer = node.op_type in ("Conv", "ConvTranspose", "Gemm") and node.input[1] in values
        dequantise = _dequantised_by(node.input[0], made_by) if layer else None
        if dequantise is not None:
            channels, axis = _channels_read(node, values[node.input[1]].shape)
            names = [f"{node.name}.read_{part}" for part in ("scale", "zero_point", "codes", "activation")]
            for name, source in zip(names[:2], dequantise.input[1:], strict=True):
                spread = np.broadcast_to(values[source].reshape(1), channels)
                model.graph.initializer.append(numpy_helper.from_array(spread.copy(), name))
            codes = dequantise.input[0]
            if node.input[0] != dequantise.output[0]:
                codes = names[2]
                inputs = [node.input[0], *names[:2]]
                nodes.append(helper.make_node("QuantizeLinear", inputs, [codes], name=codes, axis=axis))
            inputs = [codes, *names[:2]]
            nodes.append(helper.make_node("DequantizeLinear", inputs, names[3:], name=names[3], axis=axis))
            node.input[0] = names[3]
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _dequantised_by(name: str, made_by: Mapping[str, onnx.NodeProto]) -> onnx.NodeProto | None:
    """The DequantizeLinear that a tensor comes from, directly or through operators in `_MOVED_PAST`."""
    node = made_by.get(name)
    while node is not None and node.op_type in _MOVED_PAST:
        node = made_by.get(node.input[0])
    return node if node is not None and node.op_type == "DequantizeLinear" else None


def _channels_read(node: onnx.NodeProto, shape: tuple[int, ...]) -> tuple[int, int]:
    """(how many channels a layer with weights of `shape` reads, the axis of its input that holds them)."""
    if node.op_type == "Gemm":
        turned = {attribute.name: attribute.i for attribute in node.attribute if attribute.name.startswith("trans")}
        return shape[1 if turned.get("transB") else 0], 0 if turned.get("transA") else 1
    return shape[0] if node.op_type == "ConvTranspose" else shape[1] * groups(node), 1


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantiser's advice on the root logger: it is about steps that edgekd takes in another way."""
    root = logging.getLogger()

    def from_elsewhere(record: logging.LogRecord) -> bool:
        return "onnxruntime" not in record.pathname

    # The quantiser calls logging.info and the like, which also install a handler on the root logger.
    handlers = list(root.handlers)
    root.addFilter(from_elsewhere)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(from_elsewhere)
        for handler in root.handlers[:]:
            if handler not in handlers:
                root.removeHandler(handler)
