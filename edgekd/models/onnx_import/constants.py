"""What an ONNX graph computes without a picture: shapes, scales and derived weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from calibration.errors import ModelError
from edgekd.models.onnx_import.op import Op, Operand
from edgekd.models.onnx_import.table import FOLDABLE, build_and_run

__all__ = ["Constants"]

_MOST = 1 << 23  # elements of one computed constant; all together may have four times as many
_SPREADING = frozenset(
    {
        "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod",
        "Mul", "Or", "Pow", "Sub", "Sum", "Where",
    }
)  # fmt: skip


class Constants:
    """The known values of a graph, by name."""

    def __init__(self, opset: int) -> None:
        self._opset = opset
        self._values: dict[str, NDArray[Any]] = {}
        self._computed = 0  # elements of all computed constants

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._values[name]

    def __setitem__(self, name: str, value: NDArray[Any]) -> None:
        self._values[name] = value

    def read(self, tensors: Iterable[onnx.TensorProto]) -> None:
        """Take up the weights of a graph."""
        self._values.update({tensor.name: _array(tensor) for tensor in tensors})

    def compute(self, node: onnx.NodeProto, op: Op) -> None:
        """Take up the outputs of a node all of whose inputs are known.

        Raises ModelError when it cannot be computed, or has more elements than a network needs.
        """
        op = replace(op, most=_MOST)
        values = self._as_defined(node, op) if op.kind in FOLDABLE else self._as_built(op)
        self._computed += sum(value.size for value in values)
        if self._computed > 4 * _MOST:
            raise op.refusal("computes more constants than a network needs")
        self._values.update(zip(node.output, values, strict=False))

    def _as_defined(self, node: onnx.NodeProto, op: Op) -> list[NDArray[Any]]:
        """By ONNX's reference, which would allocate whatever the node asks for."""
        if op.kind == "Range":
            start, limit, step = (float(self._values[name].reshape(-1)[0]) for name in node.input)
            op.bounded((max(1, math.ceil((limit - start) / step)),))
        if op.kind in ("ConstantOfShape", "Expand"):
            op.bounded(tuple(int(item) for item in self._values[node.input[-1]]))
        if op.kind in _SPREADING:
            op.broadcast()
        if op.kind == "MatMul":
            op.bounded(_product(op))
        try:
            feeds = {name: self._values[name] for name in node.input if name}
            return [np.asarray(value) for value in ReferenceEvaluator(_single(node, self._opset)).run(None, feeds)]
        except Exception as error:  # the reference evaluator raises whatever numpy does
            raise op.refusal(f"cannot be computed ({error})") from error

    def _as_built(self, op: Op) -> list[NDArray[Any]]:
        """By the operation's own module, such as an enlarged position embedding."""
        given = op.weights(0)
        if given.numel() > _MOST:
            raise op.refusal(f"works on a constant of shape {list(given.shape)}")
        asked = replace(op, operands=(Operand(op.data.shape), *op.operands[1:]))
        result = build_and_run(asked, (given,))[1]
        return [part.numpy() for part in ([result] if isinstance(result, Tensor) else result)]


def _array(tensor: onnx.TensorProto) -> NDArray[Any]:
    try:
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    except (ValueError, TypeError, MemoryError) as error:
        raise ModelError(
            f"The ONNX weights {tensor.name} do not have their declared shape {list(tensor.dims)}",
            fix="Export it again",
        ) from error


def _product(op: Op) -> tuple[int, ...]:
    """The shape of a matrix product."""
    one, other = op.data.shape, op.operand(1).shape
    if len(one) < 2 or len(other) < 2:
        return (*one[:-1], *other[1:])
    try:
        return (*np.broadcast_shapes(one[:-2], other[:-2]), one[-2], other[-1])
    except ValueError as error:
        raise op.refusal(f"has operands of mismatched shapes ({error})") from error


def _single(node: onnx.NodeProto, opset: int) -> onnx.ModelProto:
    values = [onnx.helper.make_empty_tensor_value_info(name) for name in node.input if name]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output]
    graph = onnx.helper.make_graph([node], "constant", values, outputs)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
