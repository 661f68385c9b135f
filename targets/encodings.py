"""The two int8 encodings, written as QuantizeLinear/DequantizeLinear pairs around float operators.

Both round the same activations by the same ranges; they differ in what their runtimes want. The rules of each are in
README.md, under "The encodings".
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.errors import ModelError
from targets.graph import copy_model, drop_unused
from targets.reference import import_onnxruntime

if TYPE_CHECKING:
    import onnx

__all__ = ["S8", "U8S8", "Encoding", "encode"]


@dataclass(frozen=True)
class Encoding:
    """How ranges become scales and zero-points, and which operators get Q/DQ pairs where."""

    name: str
    signed: bool  # activations int8 with zero-point 0; otherwise uint8 with any
    bias: bool  # biases as int32 DequantizeLinear
    outputs: bool  # Q/DQ behind an operator as well as in front of it
    kinds: frozenset[str]  # operators that get Q/DQ


_LAYERS = frozenset({"Conv", "Gemm", "MatMul"})  # ConvTranspose stays in float: ONNX Runtime has no int8 kernel for it

U8S8 = Encoding(
    name="u8s8",
    signed=False,
    bias=True,
    outputs=True,
    kinds=_LAYERS
    | {
        "Add",
        "AveragePool",
        "Clip",
        "Concat",
        "GlobalAveragePool",
        "MaxPool",
        "Relu",
        "Resize",
        "Reshape",
        "Transpose",
    },
)
"""For ONNX Runtime on x86 (VNNI): uint8 activations with zero-points, int8 weights per channel."""

S8 = Encoding(name="s8", signed=True, bias=False, outputs=False, kinds=_LAYERS | {"Add"})
"""For TensorRT: int8 throughout, every zero-point 0, weights per channel, biases in float."""


def encode(
    model: onnx.ModelProto,
    encoding: Encoding,
    ranges: Mapping[str, tuple[float, float]],
    nodes: Iterable[str],
) -> onnx.ModelProto:
    """A copy of `model` in which the named nodes are rounded to int8; `ranges` covers the activations they touch.

    Raises MissingRuntimeError without ONNX Runtime, ModelError when the model cannot be encoded.
    """
    import_onnxruntime()
    with _quiet():
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        copy = copy_model(model)
        chosen = set(nodes)
        kinds = sorted({node.op_type for node in copy.graph.node if node.name in chosen} & encoding.kinds)
        quantizer = QDQQuantizer(
            copy,
            True,  # weights per channel
            False,  # the whole range of 8 bits
            QuantType.QInt8,
            QuantType.QInt8 if encoding.signed else QuantType.QUInt8,
            TensorsData(
                CalibrationMethod.MinMax,
                {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()},
            ),
            sorted(chosen),
            [],
            kinds,
            {
                "ActivationSymmetric": encoding.signed,
                "WeightSymmetric": True,
                "QuantizeBias": encoding.bias,
                "AddQDQPairToWeight": encoding.signed,  # TensorRT 8.5 takes weights only as float behind Q/DQ
                "OpTypesToExcludeOutputQuantization": [] if encoding.outputs else kinds,
            },
        )
        try:
            quantizer.quantize_model()
            quantizer.model.topological_sort()
        except Exception as error:  # ValueError, KeyError, AssertionError... all: this model does not fit
            raise ModelError(
                f"The model cannot be encoded as {encoding.name} ({error!r})", fix="Build with --precision fp32"
            ) from error
    encoded: onnx.ModelProto = quantizer.model.model
    if encoding.signed:
        _free_fused_branches(encoded)
    drop_unused(encoded)
    return encoded


def _free_fused_branches(model: onnx.ModelProto) -> None:
    """Take the Q/DQ pair off the branch of a residual Add that comes straight from a convolution.

    TensorRT fuses convolution and Add into one kernel when only the identity branch is rounded; with a pair between
    them it writes the convolution out in 8 bits and adds in a second kernel.
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


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's quantiser advises, through the root logger, on steps that are taken here in another way."""
    root = logging.getLogger()

    def from_elsewhere(record: logging.LogRecord) -> bool:
        return "onnxruntime" not in record.pathname

    # The quantiser calls logging.info and its like, which would also install a handler on the root logger.
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
