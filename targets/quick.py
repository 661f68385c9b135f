"""The int8 model in the form that ONNX Runtime runs fastest: the same numbers, arranged for its kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from targets.calibrated import Calibrated, quantise
from targets.encodings import U8S8, Encoding
from targets.enlarging import enlarge_by_copying
from targets.padding import pad_channels
from targets.pointwise import multiply_last_layers

if TYPE_CHECKING:
    import onnx

__all__ = ["quantise_for_onnxruntime"]


def quantise_for_onnxruntime(calibrated: Calibrated, encoding: Encoding = U8S8) -> onnx.ModelProto:
    """The model in U8S8, or a variant of it, with channels padded, maps enlarged by copying and the last layers as
    matrix products."""
    model = quantise(pad_channels(calibrated), encoding)
    enlarge_by_copying(model)
    multiply_last_layers(model)
    return model
