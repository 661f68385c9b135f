"""What each TensorRT reads of ONNX: its newest opset and the operators it lacks, by its own operator table.

Tables: onnx-tensorrt's docs/operators.md of 8.5 and of 10.15; 8.6 and 11 by their release notes and support matrices.
Boards: JetPack 5 has 8.5, JetPack 6 has 10.3, JetPack 7 has 10.13 and 11.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["VERSIONS", "Version"]

_NOWHERE = frozenset(
    {
        "AffineGrid", "Bernoulli", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "CenterCropPad",
        "Col2Im", "Compress", "ConcatFromSequence", "ConvInteger", "DFT", "Det", "DynamicQuantizeLinear",
        "ImageDecoder", "MatMulInteger", "MaxRoiPool", "MaxUnpool", "MelWeightMatrix", "Multinomial",
        "NegativeLogLikelihoodLoss", "Optional", "OptionalGetElement", "OptionalHasElement", "QLinearConv",
        "QLinearMatMul", "RegexFullMatch", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase",
        "SequenceInsert", "SequenceLength", "SequenceMap", "SoftmaxCrossEntropyLoss", "SplitToSequence", "StringConcat",
        "StringNormalizer", "StringSplit", "TfIdfVectorizer", "Unique",
    }
)  # fmt: skip
_SINCE_10 = frozenset({"BlackmanWindow", "DeformConv", "HammingWindow", "HannWindow", "STFT"})
_SINCE_8_6 = frozenset({"CastLike", "Hardmax", "IsInf", "LayerNormalization"})


@dataclass(frozen=True)
class Version:
    """One TensorRT as a reader of ONNX."""

    name: str
    opset: int  # the newest
    lacks: frozenset[str]  # operators
    bfloat16: bool = True  # and the other types of strongly typed networks
    constant_scales: bool = False  # scales of Q/DQ must be constants
    float_weights: bool = False  # weights only as float behind Q/DQ


VERSIONS: tuple[Version, ...] = (
    Version("8.5", 17, _NOWHERE | _SINCE_10 | _SINCE_8_6, bfloat16=False, constant_scales=True, float_weights=True),
    Version("8.6", 17, _NOWHERE | _SINCE_10, bfloat16=False, constant_scales=True),
    Version("10.0", 20, _NOWHERE),
    Version("10.15", 24, _NOWHERE),
    Version("11", 25, _NOWHERE),
    Version("rtx", 25, _NOWHERE | {"NonZero"}),  # RTX has no plugins, and NonZero is one
)
"""Oldest first; a version in between is no worse than the one before it."""
