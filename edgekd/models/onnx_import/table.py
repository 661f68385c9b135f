"""The operations that can be imported, one line each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calibration.errors import ModelError
from calibration.reasons import first_line
from edgekd.models.onnx_import import (
    activation,
    arithmetic,
    convolution,
    group_norm,
    pooling,
    resize,
    sampling,
    shape,
)
from edgekd.models.onnx_import.op import Builder, Op

__all__ = ["ALIASES", "BUILDERS", "FOLDABLE", "POINTWISE", "build_and_run"]

BUILDERS: dict[str, Builder] = {
    "Abs": activation.elementwise(torch.abs),
    "Add": arithmetic.combine(torch.add),
    "And": arithmetic.combine(torch.logical_and),
    "AveragePool": pooling.average_pool,
    "BatchNormalization": convolution.batch_norm,
    "Cast": activation.cast,
    "Ceil": activation.elementwise(torch.ceil),
    "Celu": activation.celu,
    "Clip": activation.clip,
    "Concat": shape.concat,
    "Conv": convolution.conv,
    "ConvTranspose": convolution.conv_transpose,
    "Cos": activation.elementwise(torch.cos),
    "CumSum": arithmetic.cumulative_sum,
    "DepthToSpace": shape.depth_to_space,
    "Div": arithmetic.combine(torch.div),
    "Einsum": arithmetic.einsum,
    "Elu": activation.elu,
    "Equal": arithmetic.combine(torch.eq),
    "Erf": activation.elementwise(torch.erf),
    "Exp": activation.elementwise(torch.exp),
    "Expand": shape.expand,
    "Flatten": shape.flatten,
    "Floor": activation.elementwise(torch.floor),
    "Gather": shape.gather,
    "Gelu": activation.gelu,
    "Gemm": arithmetic.gemm,
    "GlobalAveragePool": pooling.global_pool(torch.mean),
    "GlobalMaxPool": pooling.global_pool(torch.amax),
    "Greater": arithmetic.combine(torch.gt),
    "GreaterOrEqual": arithmetic.combine(torch.ge),
    "GridSample": sampling.grid_sample,
    "GroupNormalization": group_norm.group_norm,
    "HardSigmoid": activation.hard_sigmoid,
    "HardSwish": activation.elementwise(F.hardswish),
    "InstanceNormalization": convolution.instance_norm,
    "LayerNormalization": convolution.layer_norm,
    "LeakyRelu": activation.leaky_relu,
    "Less": arithmetic.combine(torch.lt),
    "LessOrEqual": arithmetic.combine(torch.le),
    "Log": activation.elementwise(torch.log),
    "LogSoftmax": activation.log_softmax,
    "MatMul": arithmetic.matmul,
    "Max": arithmetic.combine(torch.maximum),
    "MaxPool": pooling.max_pool,
    "Mean": arithmetic.mean,
    "Min": arithmetic.combine(torch.minimum),
    "Mish": activation.elementwise(F.mish),
    "Mul": arithmetic.combine(torch.mul),
    "Neg": activation.elementwise(torch.neg),
    "Not": activation.elementwise(torch.logical_not),
    "Or": arithmetic.combine(torch.logical_or),
    "PRelu": activation.prelu,
    "Pad": shape.pad,
    "Pow": arithmetic.combine(torch.pow),
    "Reciprocal": activation.elementwise(torch.reciprocal),
    "ReduceL2": pooling.reduce_over(pooling.euclidean),
    "ReduceMax": pooling.reduce_over(torch.amax),
    "ReduceMean": pooling.reduce_over(torch.mean),
    "ReduceMin": pooling.reduce_over(torch.amin),
    "ReduceSum": pooling.reduce_over(torch.sum),
    "Relu": lambda op: nn.ReLU(),
    "Reshape": shape.reshape,
    "Resize": resize.resize,
    "Round": activation.elementwise(torch.round),
    "Selu": activation.selu,
    "Sigmoid": activation.elementwise(torch.sigmoid),
    "Sign": activation.elementwise(torch.sign),
    "Sin": activation.elementwise(torch.sin),
    "Slice": shape.slice_,
    "Softmax": activation.softmax,
    "Softplus": activation.elementwise(F.softplus),
    "SpaceToDepth": shape.space_to_depth,
    "Split": shape.split,
    "Sqrt": activation.elementwise(torch.sqrt),
    "Squeeze": shape.squeeze,
    "Sub": arithmetic.combine(torch.sub),
    "Sum": arithmetic.combine(torch.add),
    "Tanh": activation.elementwise(torch.tanh),
    "Tile": shape.tile,
    "Transpose": shape.transpose,
    "Unsqueeze": shape.unsqueeze,
    "Upsample": resize.upsample,
    "Where": arithmetic.where,
}

POINTWISE = frozenset(
    {
        "Abs", "Add", "And", "Cast", "Ceil", "Celu", "Clip", "Cos", "Div", "Elu", "Equal", "Erf", "Exp", "Floor",
        "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "LeakyRelu", "Less", "LessOrEqual", "Log",
        "Max", "Mean", "Min", "Mish", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "Relu", "Round", "Selu",
        "Sigmoid", "Sign", "Sin", "Softplus", "Sqrt", "Sub", "Sum", "Tanh", "Where",
    }
)  # fmt: skip
"""Operations on each value alone, for which the number of leading axes makes no difference."""

ALIASES = frozenset({"Dropout", "Identity"})
"""Operations that pass on their first input, for which nothing is built."""

FOLDABLE = frozenset(
    {
        "Abs", "Add", "And", "Cast", "Ceil", "Celu", "Clip", "Concat", "Constant", "ConstantOfShape", "Cos", "CumSum",
        "Div", "Elu", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "Greater", "GreaterOrEqual",
        "HardSigmoid", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max", "Mean", "Min", "Mod",
        "Mul", "Neg", "Not", "Or", "Pow", "Range", "Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin",
        "ReduceProd", "ReduceSum", "Relu", "Reshape", "Round", "ScatterND", "Selu", "Shape", "Sigmoid", "Sign", "Sin",
        "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Transpose", "Unsqueeze",
        "Where",
    }
)  # fmt: skip
"""Operations computed as ONNX defines them if all inputs are known, such as for shapes, scales and derived weights."""


def build_and_run(op: Op, given: tuple[Tensor, ...]) -> tuple[nn.Module, Any]:
    """The module of an operation, and its result for these tensors. Raises ModelError when it cannot be run on them."""
    try:
        module = BUILDERS[op.kind](op).eval()
        return module, module(*given)
    except ModelError:
        raise
    except Exception as error:  # attributes may hold anything, and torch raises many kinds of error
        raise op.refusal(f"cannot be run ({first_line(error)})") from error
