"""float16: whether a model fits its range, and the converted model for runtimes that take types as they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.errors import ModelError
from calibration.progress import Progress
from targets.graph import DepthGraph, copy_model
from targets.nodes import LAYERS, body, drop_unused
from targets.ranges import activations, find_extremes, not_floats
from targets.reference import fold

if TYPE_CHECKING:
    import onnx

__all__ = ["LARGEST", "require_half", "to_half"]

LARGEST = 65504.0
"""The largest float16; anything above becomes infinite."""

# Operators that only move, compare or add up few values. Everything else keeps float32: exponentials overflow, long
# means lose digits. onnxconverter-common follows the same idea with a list of blocked operators.
_KINDS = frozenset(
    {
        "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "Flatten", "Gemm", "HardSigmoid", "HardSwish",
        "LeakyRelu", "MatMul", "Max", "MaxPool", "Min", "Mul", "PRelu", "Pad", "Relu", "Reshape", "Resize", "Slice",
        "Squeeze", "Sub", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
_FLOAT_INPUTS = {"Resize": 1}  # how many inputs take the operator's type; Resize's scales, in float32, never do


def require_half(graph: DepthGraph, images: NDArray[np.uint8], progress: Progress) -> None:
    """Raise ModelError naming the weight or activation that float16 cannot hold, tried on `images`."""
    from onnx import numpy_helper

    fix = "Build with --precision fp32 or int8"
    model = fold(graph.model)
    halved = list(body(model, _KINDS))  # the rest stays in float32
    read = {name for node in halved for name in node.input}
    for constant in model.graph.initializer:
        values = numpy_helper.to_array(constant)
        overflows = values.dtype == np.float32 and values.size and not np.abs(values).max() <= LARGEST
        if overflows and constant.name in read:
            raise ModelError(f"{graph.path}: weight {constant.name!r} overflows float16", fix=fix)
    names = activations(model, halved)
    for name, (low, high) in find_extremes(model, images, names, progress).items():
        if max(-low, high) > LARGEST:
            raise ModelError(
                f"{graph.path}: activation {name!r} reaches {max(-low, high):.3g} and overflows float16", fix=fix
            )


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A folded copy whose body computes in float16; pre-processing, output layer, input and output stay as they are."""
    from onnx import TensorProto, helper, numpy_helper

    copy = copy_model(fold(model))
    del copy.graph.value_info[:]
    others = not_floats(copy)  # sizes computed in the graph, and what is computed from them
    floats = {constant.name: constant for constant in copy.graph.initializer if constant.data_type == TensorProto.FLOAT}
    vanishing = {name for name, constant in floats.items() if _vanishes(numpy_helper.to_array(constant))}
    converted = {
        node.name
        for node in body(copy, _KINDS)
        if others.isdisjoint(node.output) and (node.op_type in LAYERS or vanishing.isdisjoint(node.input))
    }
    halves = {name for node in copy.graph.node if node.name in converted for name in node.output}
    casts: set[str] = set()  # names of the converted tensors so far
    nodes: list[onnx.NodeProto] = []

    def cast(name: str, to: int) -> str:
        wanted = f"{name}.{'half' if to == TensorProto.FLOAT16 else 'float'}"
        if wanted not in casts:
            casts.add(wanted)
            if name in floats:
                half = numpy_helper.to_array(floats[name]).astype(np.float16)
                copy.graph.initializer.append(numpy_helper.from_array(half, wanted))
            else:
                nodes.append(helper.make_node("Cast", [name], [wanted], name=wanted, to=to))
        return wanted

    for node in copy.graph.node:
        count = _FLOAT_INPUTS.get(node.op_type, len(node.input)) if node.name in converted else len(node.input)
        for index, name in enumerate(node.input[:count]):
            if node.name in converted and name and name not in halves and name not in others:
                node.input[index] = cast(name, TensorProto.FLOAT16)
            elif node.name not in converted and name in halves:
                node.input[index] = cast(name, TensorProto.FLOAT)
        nodes.append(node)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    drop_unused(copy)
    return copy


def _vanishes(values: NDArray[np.float32]) -> bool:
    """Whether float16 rounds a nonzero value to 0, such as a 1e-8 that guards against division by 0."""
    with np.errstate(over="ignore"):  # the output layer stays in float32 and may clip at 1e9
        return bool(((values != 0) & (values.astype(np.float16) == 0)).any())
