"""Arithmetic between tensors, or between a tensor and a constant."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from edgekd.models.onnx_import.op import Builder, Function, Op

__all__ = [
    "Einsum",
    "Fold",
    "WithConstants",
    "combine",
    "constants_of",
    "cumulative_sum",
    "einsum",
    "gemm",
    "matmul",
    "mean",
    "where",
]


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


class Einsum(WithConstants):
    """The sum of the products of its operands that an equation such as bqc,bkc->bqk states."""

    def __init__(self, equation: str, constants: dict[int, Tensor], count: int) -> None:
        super().__init__(constants, count)
        self.equation = equation

    def forward(self, *tensors: Tensor) -> Tensor:
        return torch.einsum(self.equation, *self.operands(tensors))

    def extra_repr(self) -> str:
        return self.equation


class _WeightedSum(Einsum):
    """One whose first operand has all axes, such as bchw,bc->bhw: products of values and a sum, which can be cut."""

    def forward(self, *tensors: Tensor) -> Tensor:
        given, result = self.equation.split("->")
        terms = given.split(",")
        axes = terms[0]
        spread = [
            operand.permute([term.index(axis) for axis in axes if axis in term])[
                tuple(slice(None) if axis in term else None for axis in axes)
            ]
            for term, operand in zip(terms, self.operands(tensors), strict=True)
        ]
        product = reduce(torch.mul, spread)
        summed = [number for number, axis in enumerate(axes) if axis not in result]
        left = [axis for axis in axes if axis in result]
        total = product.sum(summed) if summed else product
        return total.permute([left.index(axis) for axis in result])


def einsum(op: Op) -> nn.Module:
    equation = op.attributes["equation"].replace(" ", "")
    given, _, result = equation.partition("->")
    terms = given.split(",")
    shapes = [op.operand(position).shape for position in range(len(op.operands))]
    if not result or "." in equation or [len(term) for term in terms] != [len(shape) for shape in shapes]:
        raise op.refusal(f"has the equation {equation}, which does not name each axis of its operands and its result")
    for term, operand in zip(terms, op.operands, strict=True):
        varies = operand is not None and operand.constant is None
        if term.count(result[0]) != varies or (varies and term[0] != result[0]):
            raise op.refusal(f"has the equation {equation}, which mixes the pictures of a batch")
    sizes = dict(zip("".join(terms), itertools.chain(*shapes), strict=True))
    op.bounded(tuple(sizes.get(axis, 1) for axis in result))
    if len(terms) > 2:  # torch may compute the product of some before it sums
        op.bounded(tuple(sizes.values()))
    each_once = all(len(set(term)) == len(term) for term in terms)
    kind = _WeightedSum if each_once and set(terms[0]) == sizes.keys() else Einsum
    return kind(equation, constants_of(op), len(op.operands))


def cumulative_sum(op: Op) -> nn.Module:
    axis = int((op.integers(1, "axis") or (0,))[0]) % len(op.data.shape)
    if axis == 0 or op.attributes.get("exclusive", 0) or op.attributes.get("reverse", 0):
        raise op.refusal("sums across the pictures of a batch, in reverse or exclusively")
    return Function(torch.cumsum, dim=axis)


def matmul(op: Op) -> nn.Module:
    """A linear layer if it multiplies by a constant matrix: such a layer can be cut."""
    matrix = op.operand(1)
    if matrix.constant is None or len(matrix.shape) != 2 or len(op.data.shape) < 2:
        return Fold(torch.matmul, constants_of(op), len(op.operands))
    layer = nn.Linear(*matrix.shape, bias=False)
    with torch.no_grad():
        layer.weight.copy_(op.weights(1).T)
    return layer


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
