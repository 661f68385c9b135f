"""Converts an exported graph from opset 18, the oldest that torch writes, to 17, the newest that TensorRT 8 reads.

Few operators changed between the two (ONNX's Changelog.md), and onnx's own converter cannot convert some of them down.
"""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from calibration.errors import ModelError

__all__ = ["EXPORTED_OPSET", "OPSET", "lower"]

EXPORTED_OPSET = 18
OPSET = 17
"""The newest that the parsers of TensorRT 8.5 and 8.6 (JetPack 5) read."""

_REDUCTIONS = frozenset(
    {"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"}
    | {"ReduceSumSquare"}
)
_DEFAULTS = {
    "antialias": 0,
    "keep_aspect_ratio_policy": b"stretch",
    "noop_with_empty_axes": 0,
    "reduction": b"none",
}
"""Attributes that are new in opset 18, and the values at which they have no effect."""


def lower(model: onnx.ModelProto) -> None:
    """Rewrite `model` from opset 18 to 17 in place. Raises ModelError naming an operation that 17 cannot express."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [part for node in model.graph.node for part in (_mish(node) if node.op_type == "Mish" else [node])]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for node in model.graph.node:
        if node.op_type in _REDUCTIONS:
            _axes_to_attribute(node, constants)
        elif node.op_type == "Pad":
            _drop_axes_of_pad(node, constants)
        _drop_new_attributes(node)
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = OPSET


def _mish(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """x * tanh(softplus(x)), which opset 18 made a single operation."""
    (x,), (y,) = node.input, node.output
    return [
        onnx.helper.make_node("Softplus", [x], [f"{y}_softplus"], name=f"{node.name}_softplus"),
        onnx.helper.make_node("Tanh", [f"{y}_softplus"], [f"{y}_tanh"], name=f"{node.name}_tanh"),
        onnx.helper.make_node("Mul", [x, f"{y}_tanh"], [y], name=node.name),
    ]


def _axes_to_attribute(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> None:
    if len(node.input) < 2 or not node.input[1]:
        return
    if node.input[1] not in constants:
        raise _refusal(node, "over axes computed at run time")
    axes = numpy_helper.to_array(constants[node.input[1]])
    node.attribute.append(onnx.helper.make_attribute("axes", [int(axis) for axis in axes]))
    del node.input[1:]


def _drop_axes_of_pad(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> None:
    if len(node.input) < 4 or not node.input[3]:
        return
    axes = numpy_helper.to_array(constants[node.input[3]]) if node.input[3] in constants else None
    pads = numpy_helper.to_array(constants[node.input[1]]) if node.input[1] in constants else ()
    if axes is None or list(axes) != list(range(len(pads) // 2)):
        raise _refusal(node, "along explicit axes")
    del node.input[3:]


def _drop_new_attributes(node: onnx.NodeProto) -> None:
    if node.domain not in ("", "ai.onnx"):
        raise _refusal(node, f"of {node.domain}")
    try:
        known = onnx.defs.get_schema(node.op_type, OPSET).attributes
    except onnx.defs.SchemaError as error:
        raise _refusal(node, "itself") from error
    for attribute in [attribute for attribute in node.attribute if attribute.name not in known]:
        value = onnx.helper.get_attribute_value(attribute)
        # Split without sizes makes equal parts in 17 too; unequal parts fail the later check of shapes.
        if attribute.name != "num_outputs" and value != _DEFAULTS.get(attribute.name):
            raise _refusal(node, f"with {attribute.name}")
        node.attribute.remove(attribute)


def _refusal(node: onnx.NodeProto, how: str) -> ModelError:
    return ModelError(
        f"The operation {node.op_type} {how} cannot be written at opset {OPSET}", fix="Build the network without it"
    )
