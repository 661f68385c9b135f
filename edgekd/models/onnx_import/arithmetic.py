"""Arithmetic between tensors, or between a tensor and a constant."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor, nn

from edgekd.models.onnx_import.op import Builder, Op

__all__ = ["Fold", "combine", "gemm", "mean", "where"]


class Fold(nn.Module):
    """Combines its operands from left to right; those known in advance are buffers in their places."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], constants: dict[int, Tensor], count: int) -> None:
        super().__init__()
        self.function, self.count = function, count
        for position, value in constants.items():
            self.register_buffer(f"operand_{position}", value)

    def forward(self, *tensors: Tensor) -> Tensor:
        live = iter(tensors)
        operands: list[Tensor] = []
        for position in range(self.count):
            known = getattr(self, f"operand_{position}", None)
            operands.append(next(live) if known is None else known)
        return reduce(self.function, operands)

    def extra_repr(self) -> str:
        return self.function.__name__


class _Mean(Fold):
    def forward(self, *tensors: Tensor) -> Tensor:
        return super().forward(*tensors) / self.count


def combine(function: Callable[[Tensor, Tensor], Tensor], kind: type[Fold] = Fold) -> Builder:
    """The builder of an operation on two or more operands that broadcast."""

    def build(op: Op) -> nn.Module:
        if op.kind != "MatMul":  # whose shapes fit otherwise
            op.broadcast()
        constants = {
            position: op.weights(position)
            for position, operand in enumerate(op.operands)
            if operand is not None and operand.constant is not None
        }
        return kind(function, constants, len(op.operands))

    return build


mean = combine(torch.add, _Mean)


class _Where(nn.Module):
    """Picks from two operands by a third; those known in advance are buffers in their places."""

    def __init__(self, constants: dict[int, Tensor]) -> None:
        super().__init__()
        for position, value in constants.items():
            self.register_buffer(f"operand_{position}", value)

    def forward(self, *tensors: Tensor) -> Tensor:
        live = iter(tensors)
        known = [getattr(self, f"operand_{position}", None) for position in range(3)]
        condition, yes, no = (next(live) if value is None else value for value in known)
        return torch.where(condition, yes, no)


def where(op: Op) -> nn.Module:
    op.broadcast()
    constants = {
        position: op.weights(position).bool() if position == 0 else op.weights(position)
        for position in range(3)
        if op.operand(position).constant is not None
    }
    return _Where(constants)


def gemm(op: Op) -> nn.Module:
    weight = op.weights(1)
    if op.attributes.get("transA", 0):
        raise op.refusal("transposes the picture's features")
    matrix = weight if op.attributes.get("transB", 0) else weight.T
    layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=True)
    bias = torch.zeros(()) if op.constant(2) is None else op.weights(2)
    with torch.no_grad():
        layer.weight.copy_(float(op.attributes.get("alpha", 1.0)) * matrix)
        layer.bias.copy_(float(op.attributes.get("beta", 1.0)) * bias.reshape(-1))
    return layer
