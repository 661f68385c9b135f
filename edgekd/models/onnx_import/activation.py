"""Activations and other functions of a single tensor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.models.onnx_import.op import Builder, Function, Op

__all__ = [
    "cast",
    "celu",
    "clip",
    "elementwise",
    "elu",
    "gelu",
    "hard_sigmoid",
    "leaky_relu",
    "log_softmax",
    "prelu",
    "selu",
    "softmax",
]


def elementwise(function: Callable[..., Tensor]) -> Builder:
    """The builder of an operation without settings."""
    return lambda op: Function(function)


def clip(op: Op) -> nn.Module:
    low, high = _bound(op, 1, "min", -np.inf), _bound(op, 2, "max", np.inf)
    if (low, high) == (0.0, 6.0):
        return nn.ReLU6()
    if low == 0.0 and high > 1e38:
        return nn.ReLU()
    return Function(torch.clamp, min=low, max=high)


def leaky_relu(op: Op) -> nn.Module:
    return nn.LeakyReLU(float(op.attributes.get("alpha", 0.01)))


def prelu(op: Op) -> nn.Module:
    slope = op.weights(1)
    per_channel = (op.data.shape[1], *(1 for _ in op.data.shape[2:]))
    if slope.numel() != 1 and tuple(slope.shape) not in (per_channel, (1, *per_channel)):
        raise op.refusal(f"has slopes of shape {list(slope.shape)}, not one per channel: {list(per_channel)}")
    layer = nn.PReLU(slope.numel())
    with torch.no_grad():
        layer.weight.copy_(slope.reshape(-1))
    return layer


def elu(op: Op) -> nn.Module:
    return nn.ELU(float(op.attributes.get("alpha", 1.0)))


def celu(op: Op) -> nn.Module:
    return nn.CELU(float(op.attributes.get("alpha", 1.0)))


def selu(op: Op) -> nn.Module:
    alpha = float(op.attributes.get("alpha", 1.67326319217681884765625))
    gamma = float(op.attributes.get("gamma", 1.05070102214813232421875))
    return Function(_selu, alpha=alpha, gamma=gamma)


def gelu(op: Op) -> nn.Module:
    return nn.GELU(approximate=op.attributes.get("approximate", "none"))


def hard_sigmoid(op: Op) -> nn.Module:
    alpha, beta = float(op.attributes.get("alpha", 0.2)), float(op.attributes.get("beta", 0.5))
    return Function(_hard_sigmoid, alpha=alpha, beta=beta)


def softmax(op: Op) -> nn.Module:
    axis = int(op.attributes.get("axis", -1 if op.opset >= 13 else 1)) % len(op.data.shape)
    if axis == 0:
        raise op.refusal("normalises across the pictures of a batch")
    if op.opset >= 13:
        return nn.Softmax(dim=axis)
    return Function(_flat_softmax, axis=axis)


def log_softmax(op: Op) -> nn.Module:
    layer = softmax(op)
    return nn.LogSoftmax(layer.dim) if isinstance(layer, nn.Softmax) else nn.Sequential(layer, Function(torch.log))


def cast(op: Op) -> nn.Module:
    kind = int(op.attributes["to"])
    if kind in _INTEGERS:
        return Function(torch.Tensor.to, dtype=torch.int64)
    if kind == _BOOL:
        return Function(torch.Tensor.bool)
    if kind not in _FLOATS:
        raise op.refusal("turns pictures into something other than numbers")
    return Function(torch.Tensor.to, dtype=torch.float32)


# Values of TensorProto.DataType.
_FLOATS = (1, 10, 11)  # float, float16, double; all are computed in float32 here
_INTEGERS = (6, 7)  # int32, int64
_BOOL = 9


def _bound(op: Op, position: int, attribute: str, default: float) -> float:
    if attribute in op.attributes:
        return float(op.attributes[attribute])
    value = op.constant(position)
    return default if value is None else float(value.reshape(-1)[0])


def _hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


def _selu(x: Tensor, alpha: float, gamma: float) -> Tensor:
    return gamma * F.elu(x, alpha)


def _flat_softmax(x: Tensor, axis: int) -> Tensor:
    """Softmax over all axes from `axis` on, as defined before opset 13."""
    return F.softmax(x.flatten(axis), dim=-1).reshape(x.shape)
