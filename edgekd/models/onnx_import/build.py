"""Turns an ONNX graph into a torch.fx.GraphModule, with one named submodule per node and constants folded."""

from __future__ import annotations

import keyword
import operator
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, fx, nn

from calibration.errors import ModelError
from edgekd.models.onnx_import.batch_axis import BatchAxis
from edgekd.models.onnx_import.constants import Constants
from edgekd.models.onnx_import.file import read_onnx
from edgekd.models.onnx_import.group_norm import SHAPE, fuse_group_norms
from edgekd.models.onnx_import.op import Op, Operand
from edgekd.models.onnx_import.picture import Picture, find_picture
from edgekd.models.onnx_import.table import ALIASES, BUILDERS, FOLDABLE, build_and_run
from targets.graph import opset_of
from targets.nodes import read_by

__all__ = ["ImportedNetwork", "import_onnx"]

_INTEGER_OPERATIONS = frozenset({"Cast", "ReduceSum", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
"""Operations that give ONNX's result for integers that depend on the picture, although constants are floats here."""

_TAKEN = frozenset(
    {"self", *keyword.kwlist, *(set(dir(fx.GraphModule(nn.Module(), fx.Graph()))) - set(dir(nn.Module())))}
)
"""Names that fx uses itself, or cannot write into the code of a network: torch's exporter calls a node /Or."""


@dataclass(frozen=True)
class ImportedNetwork:
    """A network imported from ONNX, for batches of any size, and the resolution it was imported for."""

    module: fx.GraphModule
    height: int
    width: int
    remarks: tuple[str, ...]


def import_onnx(path: Path, *, size: tuple[int, int] | None = None) -> ImportedNetwork:
    """Import a network with one input [N, 3, H, W]; `size` is needed if the graph leaves H and W open.

    The result is in eval mode and frozen; gradients flow to its input. Raises FileError when the file cannot be read,
    and ModelError, naming the node, when the graph cannot be imported.
    """
    model = read_onnx(path)
    try:
        picture = find_picture(model, path, size)
        assembly = _Assembly(model, picture)
        with torch.no_grad():
            for index, node in enumerate(model.graph.node):
                assembly.add(node, index)
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:  # the checker accepts much
        raise ModelError(f"{path} cannot be imported ({error!r})", fix="Export it again") from error
    if not model.graph.output:
        raise ModelError(f"{path} has no output", fix="Export it with one depth map as its output")
    names = [value.name for value in model.graph.output]
    output = max(names, key=assembly.pixels_of_depth)
    module = assembly.finish(output)
    others = [name for name in names if name != output]
    alone = "if that is not its depth, export it with the depth alone"
    remarks = (f"uses the output {output} and ignores {', '.join(others)}; {alone}",) if others else ()
    return ImportedNetwork(module, picture.height, picture.width, (*remarks, *picture.remarks))


class _Assembly:
    """The graph under construction. Every value is a constant or a tensor computed from one picture."""

    def __init__(self, model: onnx.ModelProto, picture: Picture) -> None:
        self.opset = opset_of(model)
        self.graph, self.root = fx.Graph(), nn.Module()
        self.constants = Constants(self.opset)
        self.constants.read(model.graph.initializer)
        self.batch_axis = BatchAxis()
        example = torch.rand(1, 3, picture.height, picture.width, generator=torch.Generator().manual_seed(0))
        self.nodes: dict[str, fx.Node] = {picture.name: self.graph.placeholder("image")}
        self.tensors: dict[str, Tensor] = {picture.name: example}
        self.uses = Counter(name for node in model.graph.node for name in read_by(node))
        self.uses.update(value.name for value in model.graph.output)

    def add(self, node: onnx.NodeProto, index: int) -> None:
        if node.op_type == "If" and node.domain in ("", "ai.onnx") and node.input[0] in self.constants:
            self._branch(node, index)
            return
        op = self._op(node, index)
        live = [name for name in node.input if name in self.tensors]
        op = self.batch_axis.follow(op, node, {name: self.tensors[name].dim() for name in live})
        if op.kind in ALIASES:
            self._alias(node.input[0], node.output[0])
        elif op.kind == "Shape" and live:
            shape = np.array(self.tensors[live[0]].shape, dtype=np.int64)
            self.constants[node.output[0]] = shape[op.attributes.get("start", 0) : op.attributes.get("end")]
        elif not live:
            self.constants.compute(node, op)
        else:
            self._call(node, op, live)
        for name in set(live):
            self.uses[name] -= sum(name == used for used in node.input)
            if not self.uses[name]:
                del self.tensors[name]

    def _branch(self, node: onnx.NodeProto, index: int) -> None:
        """Add the nodes of the branch that a known condition takes; exporters write an If when a shape decides."""
        branches = {item.name: item.g for item in node.attribute}
        taken = branches["then_branch" if self.constants[node.input[0]].reshape(-1)[0] else "else_branch"]
        self.constants.read(taken.initializer)
        for inner in taken.node:
            self.add(inner, index)
        for value, name in zip(taken.output, node.output, strict=True):
            self._alias(value.name, name)
            self.batch_axis.alias(value.name, name)

    def pixels_of_depth(self, output: str) -> int:
        """Pixels of an output that may be depth, else 0: the largest of several maps is taken as the depth."""
        shape = self.tensors[output].shape if output in self.tensors else ()
        return shape[-2] * shape[-1] if len(shape) == 3 or (len(shape) == 4 and shape[1] == 1) else 0

    def finish(self, output: str) -> fx.GraphModule:
        if output not in self.nodes:
            raise ModelError(f"The ONNX output {output} does not depend on the picture", fix="Export the network again")
        self.batch_axis.require_first(output)
        self.graph.output(self.nodes[output])
        module = fx.GraphModule(self.root, self.graph, class_name="ImportedNetwork")
        module.graph.eliminate_dead_code()
        fuse_group_norms(module)
        return module.eval().requires_grad_(False)

    def _op(self, node: onnx.NodeProto, index: int) -> Op:
        label = node.name or f"{node.op_type}_{index}"
        operands: list[Operand | None] = []
        for name in node.input:
            if name in self.tensors:
                operands.append(Operand(tuple(self.tensors[name].shape)))
            elif name in self.constants:
                operands.append(Operand(self.constants[name].shape, self.constants[name]))
            else:
                operands.append(None)
        attributes = {
            item.name: _plain(onnx.helper.get_attribute_value(item))
            for item in node.attribute
            if not item.ref_attr_name
        }
        op = Op(node.op_type, label, self.opset, tuple(operands), len(node.output), attributes)
        for name, operand in zip(node.input, operands, strict=True):
            if name and operand is None:
                raise op.refusal(f"reads {name}, which no earlier node outputs")
        if node.domain not in ("", "ai.onnx") or op.kind not in BUILDERS.keys() | FOLDABLE | ALIASES:
            raise op.refusal("is an unsupported operation")
        return op

    def _alias(self, source: str, name: str) -> None:
        if source in self.tensors:
            self.nodes[name], self.tensors[name] = self.nodes[source], self.tensors[source]
        else:
            self.constants[name] = self.constants[source]

    def _call(self, node: onnx.NodeProto, op: Op, live: list[str]) -> None:
        if op.kind not in BUILDERS:
            raise op.refusal("is supported on constants only, but depends on the picture here")
        whole = any(self.tensors[name].dtype == torch.int64 for name in live)
        if whole and op.kind not in _INTEGER_OPERATIONS:
            raise op.refusal("computes with integers that depend on the picture")
        target = self._unused_name(op.name)
        module, result = build_and_run(op, tuple(self.tensors[name] for name in live))
        self.root.add_module(target, module)
        called = self.graph.call_module(target, tuple(self.nodes[name] for name in live))
        if isinstance(result, Tensor):
            called.meta[SHAPE] = tuple(result.shape)
            self.nodes[node.output[0]], self.tensors[node.output[0]] = called, result
            return
        for position, (name, part) in enumerate(zip(node.output, result, strict=True)):
            self.nodes[name] = self.graph.call_function(operator.getitem, (called, position))
            self.tensors[name] = part

    def _unused_name(self, label: str) -> str:
        label = unicodedata.normalize("NFKC", label)  # as Python does with the names in the code that fx writes
        name = re.sub(r"\W+", "_", label).strip("_").lower() or "node"
        name = f"node_{name}" if name[0].isdigit() or name in _TAKEN else name
        taken, number = name, 2
        while hasattr(self.root, taken):
            taken, number = f"{name}_{number}", number + 1
        return taken


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
