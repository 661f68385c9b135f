"""The nodes of an ONNX graph: which are layers, what lies between them, what reads what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = [
    "ACTIVATIONS",
    "GATES",
    "LAYERS",
    "body",
    "drop_unused",
    "feeding",
    "inner",
    "name_nodes",
    "read_by",
    "shapes_of",
    "subgraphs",
]

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""The operators that have weights."""

ACTIVATIONS = frozenset({"Clip", "Relu"})
"""The operators that a runtime fuses into the preceding layer."""

GATES = frozenset({"Mul", "Sigmoid"})
"""The operators of SiLU and of squeeze-and-excitation; products of other kinds are never rounded."""


def body(model: onnx.ModelProto, kinds: frozenset[str]) -> list[onnx.NodeProto]:
    """The nodes of the given op types that lie between the pre-processing and the output layer, without either.

    The pre-processing is everything before the first convolution. The output layer is every convolution that reaches
    the output through no other one, and all that follows it: rounding it to 8 bits costs 0.6 % of depth on its own.
    """
    behind_layer = _behind_layers(model)
    head = feeding(model, (output.name for output in model.graph.output))
    return [
        node
        for node in model.graph.node
        if node.op_type in kinds and node.name not in head and any(name in behind_layer for name in node.output)
    ]


def inner(model: onnx.ModelProto, kinds: frozenset[str]) -> list[onnx.NodeProto]:
    """The nodes of `body` that int8 rounds: all but the layers that read the pre-processed picture.

    A layer of three channels has few multiplications: int8 costs much accuracy there and saves no time (README.md).
    Products that are no gates are left out, and the sum in a GELU, which runtimes compute as a whole.
    """
    behind_layer = _behind_layers(model)
    gates = _gates(model, behind_layer) if kinds & GATES else set()
    inside_gelu = _inside_gelu(model)
    return [
        node
        for node in body(model, kinds)
        if any(name in behind_layer for name in node.input)
        and (node.op_type not in GATES or node.name in gates)
        and node.name not in inside_gelu
    ]


def feeding(model: onnx.ModelProto, tensors: Iterable[str]) -> set[str]:
    """The names of the nodes whose results reach one of these tensors without passing a layer; the last layers before
    them are included."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    waiting = list(tensors)
    while waiting:
        node = made_by.get(waiting.pop())
        if node is None or node.name in found:
            continue
        found.add(node.name)
        if node.op_type not in LAYERS:
            waiting.extend(node.input)
    return found


def read_by(node: onnx.NodeProto) -> Iterator[str]:
    """A node's inputs, and what its branches or body read from the graph around them."""
    yield from node.input
    for inside in subgraphs(node):
        for within in inside.node:
            yield from read_by(within)
        yield from (output.name for output in inside.output)


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The branches of an If, the body of a Loop or Scan."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def shapes_of(model: onnx.ModelProto) -> dict[str, list[int]]:
    """The shape of each tensor that is computed, where it can be inferred; 0 stands for an unknown size."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a unique name; exporters may omit or repeat names."""
    seen = {node.name for node in model.graph.node}
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = next(
                name for name in (f"{node.op_type}_{index}", f"{node.op_type}_{index}_edgekd") if name not in seen
            )
        taken.add(node.name)


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove nodes and constants that nothing reads, and operator sets that no node uses."""
    needed = {output.name for output in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(read_by(node))
            kept.append(node)
    constants = [constant for constant in model.graph.initializer if constant.name in needed]
    opsets = [entry for entry in model.opset_import if entry.domain in {node.domain for node in kept}]
    for field, values in (
        (model.graph.node, kept[::-1]),
        (model.graph.initializer, constants),
        (model.opset_import, opsets),
    ):
        del field[:]
        field.extend(values)


def _gates(model: onnx.ModelProto, behind_layer: set[str]) -> set[str]:
    """The names of the products with a sigmoid, and of these sigmoids, that a layer of the body reads."""
    sigmoids = {name: node.name for node in model.graph.node if node.op_type == "Sigmoid" for name in node.output}
    read = (name for node in body(model, LAYERS) for name in node.input)
    fed = feeding(model, read)
    found = set()
    for node in model.graph.node:
        if node.op_type == "Mul" and node.name in fed and all(name in behind_layer for name in node.input):
            gating = [sigmoids[name] for name in node.input if name in sigmoids]
            found.update([node.name, *gating] if gating else [])
    return found


def _inside_gelu(model: onnx.ModelProto) -> set[str]:
    """The names of the sums of a GELU, x / 2 * (1 + erf(x / sqrt 2))."""
    erfs = {name for node in model.graph.node if node.op_type == "Erf" for name in node.output}
    return {node.name for node in model.graph.node if node.op_type == "Add" and erfs.intersection(node.input)}


def _behind_layers(model: onnx.ModelProto) -> set[str]:
    """Tensors with a layer upstream, except what is computed from shapes alone."""
    found: set[str] = set()
    for node in model.graph.node:
        if node.op_type in ("Shape", "Size"):
            continue
        if node.op_type in LAYERS or any(name in found for name in node.input):
            found.update(node.output)
    return found
