"""Will TensorRT build this ONNX model? Decided by reading it, per version, with the nodes that will not build and why.

The rules follow each version's operator table and parser; tests/targets/test_preflight.py checks those of TensorRT for
RTX against its builder. A rule is stricter than the parser where the parser accepts what it then computes wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from targets.graph import opset_of
from targets.nodes import subgraphs
from targets.preflight_versions import VERSIONS, Version

if TYPE_CHECKING:
    import onnx

__all__ = ["Finding", "Verdict", "preflight"]

_SAME_TYPES = frozenset(
    {
        "Add", "Concat", "Conv", "ConvTranspose", "Div", "Gemm", "MatMul", "Max", "Min", "Mul", "PRelu", "Pow", "Sub",
        "Sum",
    }
)  # fmt: skip
"""Operators whose inputs must all have one type in a strongly typed network."""

_FOREIGN = frozenset({"INT16", "UINT16", "UINT32", "UINT64", "STRING", "COMPLEX64", "COMPLEX128"})
_RESIZES = frozenset({"half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners"})


@dataclass(frozen=True)
class Finding:
    """A node that does not build, and why."""

    node: str
    op: str
    reason: str


@dataclass(frozen=True)
class Verdict:
    """One version's verdict on the model."""

    version: str
    findings: tuple[Finding, ...]

    @property
    def builds(self) -> bool:
        return not self.findings


def preflight(model: onnx.ModelProto) -> tuple[Verdict, ...]:
    """One verdict per version, in the order of VERSIONS. The model need not be valid ONNX."""
    graph = _Graph(model)
    return tuple(Verdict(version.name, tuple(_find(graph, version))) for version in VERSIONS)


class _Graph:
    """A model with what the rules need: types, constants, and the operator definition of each node."""

    def __init__(self, model: onnx.ModelProto) -> None:
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        self.opset = opset_of(model)
        try:
            inferred = onnx.shape_inference.infer_shapes(model)
        except Exception:  # of several unrelated types; use the types that the model states
            inferred = model
        graphs = list(_all_graphs(model.graph))
        self.nodes = [node for graph in graphs for node in graph.node]
        self.constants: dict[str, Any] = {constant.name: constant for graph in graphs for constant in graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant":
                value = next((a.t for a in node.attribute if a.name == "value"), None)
                if value is not None:
                    self.constants[node.output[0]] = value
        self.types: dict[str, str] = {
            value.name: TensorProto.DataType.Name(value.type.tensor_type.elem_type)
            for graph in (*_all_graphs(inferred.graph), model.graph)
            for value in (*graph.value_info, *graph.input, *graph.output)
        }
        self.types |= {name: TensorProto.DataType.Name(value.data_type) for name, value in self.constants.items()}
        self.inputs = {value.name for value in model.graph.input} - set(self.constants)
        self.read = {name for node in self.nodes for name in node.input} | {o.name for o in model.graph.output}
        self._values: Callable[[Any], NDArray[Any]] = numpy_helper.to_array
        self._attribute = helper.get_attribute_value

    def value(self, name: str) -> NDArray[Any] | None:
        """The constant of that name; None where it is computed."""
        return np.asarray(self._values(self.constants[name])) if name in self.constants else None

    def attributes(self, node: onnx.NodeProto) -> Mapping[str, Any]:
        return {attribute.name: self._attribute(attribute) for attribute in node.attribute}

    def since(self, node: onnx.NodeProto) -> int | None:
        """The opset of the node's definition; None where the standard has no such operator."""
        import onnx

        try:
            return int(onnx.defs.get_schema(node.op_type, self.opset, "").since_version)
        except Exception:  # SchemaError, whose module differs between onnx versions
            return None


def _all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and, inside it, the branches of If and the bodies of Loop and Scan."""
    yield graph
    for node in graph.node:
        for inside in subgraphs(node):
            yield from _all_graphs(inside)


def _find(graph: _Graph, version: Version) -> Iterator[Finding]:
    for node in graph.nodes:
        for rule in (_operator, _types, _quantisation, _attributes):
            reason = rule(graph, node, version)
            if reason is not None:
                yield Finding(node.name or node.output[0], node.op_type, reason)
                break  # one reason per node: the others tend to follow from it


def _operator(graph: _Graph, node: onnx.NodeProto, version: Version) -> str | None:
    if node.domain not in ("", "ai.onnx"):
        return f"op: {node.domain} is not a standard domain, and there is no plugin for it"
    since = graph.since(node)
    if since is None:
        return f"op: opset {graph.opset} has no such operator"
    if node.op_type in version.lacks:
        return "op: unsupported"
    if since > version.opset:
        return f"opset: defined in opset {since}; this version reads up to {version.opset}"
    return None


def _types(graph: _Graph, node: onnx.NodeProto, version: Version) -> str | None:
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return None
    kinds = {name: graph.types.get(name, "UNDEFINED") for name in (*node.input, *node.output) if name}
    foreign = sorted({*kinds.values()} & _FOREIGN)
    if foreign:
        return f"type: {', '.join(foreign)} is unsupported"
    if "BFLOAT16" in kinds.values() and not version.bfloat16:
        return "type: BFLOAT16 needs TensorRT 10 or newer"
    narrow = [name for name, kind in kinds.items() if kind == "UINT8"]
    if any(name not in graph.inputs for name in narrow) or (narrow and node.op_type != "Cast"):
        return "type: UINT8 is for the network's input only, and a Cast must follow it"
    found = sorted({kinds[name] for name in node.input if name} - {"UNDEFINED"})
    if node.op_type in _SAME_TYPES and len(found) > 1:
        return f"type: its inputs differ in type: {' and '.join(found)}"
    return None


def _quantisation(graph: _Graph, node: onnx.NodeProto, version: Version) -> str | None:
    if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
        return None
    kind = _quantised_type(graph, node)
    if node.op_type == "DequantizeLinear" and kind == "INT32":
        return "bias: int32 is not dequantised; keep biases in float"
    if kind == "UINT8":
        return "type: uint8 is read as int8, so that values above 127 are lost"
    if kind != "INT8" and not (kind.startswith(("FLOAT8", "INT4")) and version.bfloat16):
        return f"type: {kind} is not a quantised type"
    scale = graph.value(node.input[1])
    if scale is None and version.constant_scales:
        return "scale: must be a constant"
    if scale is not None and not (scale.astype(np.float64) > 0).all():
        return "scale: must be positive throughout"
    if len(node.input) > 2 and node.input[2]:
        zero = graph.value(node.input[2])
        if zero is None or (zero.astype(np.float32) != 0).any():
            return "zero-point: must be 0"
    if version.float_weights and node.op_type == "DequantizeLinear" and node.input[0] in graph.constants:
        return "weights: int8 constants are not read, only float behind QuantizeLinear and DequantizeLinear"
    return None


def _quantised_type(graph: _Graph, node: onnx.NodeProto) -> str:
    """The integer type that a QuantizeLinear writes or a DequantizeLinear reads."""
    if node.op_type == "DequantizeLinear":
        return graph.types.get(node.input[0], "INT8")
    if len(node.input) > 2 and node.input[2]:
        return graph.types.get(node.input[2], "INT8")
    return graph.types.get(node.output[0], "UINT8")  # ONNX's default


def _attributes(graph: _Graph, node: onnx.NodeProto, version: Version) -> str | None:
    told = graph.attributes(node)
    if node.op_type == "Resize":
        if told.get("antialias", 0):
            return "attribute: antialias is not supported"
        how = told.get("coordinate_transformation_mode", b"half_pixel").decode()
        if how not in _RESIZES:
            return f"attribute: the coordinate transformation {how} is not supported"
        if told.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
            return "attribute: keep_aspect_ratio_policy must be stretch"
    if node.op_type == "MaxPool" and any(name in graph.read for name in node.output[1:]):
        return "output: the indices of MaxPool are not supported"
    if node.op_type in ("MaxPool", "AveragePool", "LpPool") and set(told.get("dilations", [1])) != {1}:
        return "attribute: dilated pooling is not supported"
    if node.op_type == "ScatterND" and told.get("reduction", b"none") != b"none":
        return "attribute: reductions are not supported"
    return None
