"""Arithmetic between tensors, or between a tensor and a constant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from edgekd.models.onnx_import.op import Builder, Function, Op

__all__ = ["Fold", "WithConstants", "combine", "constants_of", "cumulative_sum", "gemm", "mean", "where"]


class WithConstants(nn.Module):
    """A module with `count` operands, whose constant ones are buffers."""

    def __init__(self, constants: dict[int, Tensor], count: int) -> None:
        super().__init__()
        self.count = count
        for position, value in constants.items():
            self.register_buffer(f"operand_{position}", value)

    def operands(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """All operands, in order; the non-constant ones come from `tensors`."""
        live = iter(tensors)
        known = (getattr(self, f"operand_{position}", None) for position in range(self.count))
        return [next(live) if value is None else value for value in known]


class Fold(WithConstants):
    """Combines its operands from left to right."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], constants: dict[int, Tensor], count: int) -> None:
        super().__init__(constants, count)
        self.function = function

    def forward(self, *tensors: Tensor) -> Tensor:
        return reduce(self.function, self.operands(tensors))

    def extra_repr(self) -> str:
        return self.function.__name__


class _Mean(Fold):
    def forward(self, *tensors: Tensor) -> Tensor:
        return super().forward(*tensors) / self.count


def combine(function: Callable[[Tensor, Tensor], Tensor], kind: type[Fold] = Fold) -> Builder:
    """The builder of an operation on any number of operands that broadcast."""

    def build(op: Op) -> nn.Module:
        if op.kind != "MatMul":  # MatMul has broadcasting rules of its own
            op.broadcast()
        return kind(function, constants_of(op), len(op.operands))

    return build


def constants_of(op: Op) -> dict[int, Tensor]:
    """The constant operands of an operation, by position."""
    return {
        position: op.weights(position)
        for position, operand in enumerate(op.operands)
        if operand is not None and operand.constant is not None
    }


mean = combine(torch.add, _Mean)


class _Where(WithConstants):
    """Selects from the second and third operands by the first."""

    def forward(self, *tensors: Tensor) -> Tensor:
        condition, yes, no = self.operands(tensors)
        return torch.where(condition, yes, no)


def where(op: Op) -> nn.Module:
    op.broadcast()
    for position in range(3):
        op.operand(position)  # refuses a node that lacks one
    constants = constants_of(op)
    if 0 in constants:
        constants[0] = constants[0].bool()
    return _Where(constants, 3)


def cumulative_sum(op: Op) -> nn.Module:
    axis = int((op.integers(1, "axis") or (0,))[0]) % len(op.data.shape)
    if axis == 0 or op.attributes.get("exclusive", 0) or op.attributes.get("reverse", 0):
        raise op.refusal("sums across the pictures of a batch, in reverse or exclusively")
    return Function(torch.cumsum, dim=axis)


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
