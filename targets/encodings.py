"""The two int8 encodings: which operators are rounded, and how.

Both round the same activations by the same ranges; they differ in what their runtimes need. The rules of each are in
README.md, under "The encodings". `encode.py` writes them into a model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["S8", "U8S8", "U8S8_FLOAT_SUMS", "Encoding"]


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
    kinds=_LAYERS | {
        "Add", "AveragePool", "Clip", "Concat", "GlobalAveragePool", "MaxPool", "Mul", "Relu", "Reshape", "Resize",
        "Sigmoid", "Transpose",
    },
)  # fmt: skip
"""For ONNX Runtime on x86 (VNNI): uint8 activations with zero-points, int8 weights per channel."""

U8S8_FLOAT_SUMS = replace(U8S8, name="u8s8-float-sums", kinds=U8S8.kinds - {"Add", "Mul", "Resize", "Sigmoid"})
"""For OpenVINO, which adds, resizes and gates in float whatever the model says and so needs no pairs around these."""

S8 = Encoding(name="s8", signed=True, bias=False, outputs=False, kinds=_LAYERS | {"Add"})
"""For TensorRT: int8 throughout, every zero-point 0, weights per channel, biases in float."""
