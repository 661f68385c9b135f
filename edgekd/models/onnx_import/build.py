"""Turns an ONNX graph into a torch.fx.GraphModule, with one named submodule per node and constants folded."""

from __future__ import annotations

import keyword
import math
import operator
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from torch import Tensor, fx, nn

from calibration.errors import ModelError
from calibration.reasons import first_line
from edgekd.models.freeze import INPUT_EXAMPLE
from edgekd.models.onnx_import.file import read_onnx
from edgekd.models.onnx_import.group_norm import SHAPE, fuse_group_norms
from edgekd.models.onnx_import.op import Op, Operand
from edgekd.models.onnx_import.shape import batch_after, squeezes_batch
from edgekd.models.onnx_import.table import ALIASES, BUILDERS, FOLDABLE, POINTWISE
from targets.graph import opset_of, read_by

__all__ = ["ImportedNetwork", "import_onnx"]

_MOST_PIXELS = 1 << 24
_FLOATS = ("float", "float16", "double")  # ONNX's names; the last two are converted to float32
_MOST_FOLDED = 1 << 23  # elements of one computed constant; all together may have four times as many
_SPREADING = frozenset(
    {
        "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod",
        "Mul", "Or", "Pow", "Sub", "Sum", "Where",
    }
)  # fmt: skip


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
        picture, height, width, kind = _picture(model, path, size)
        assembly = _Assembly(model, picture, height, width)
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
    remarks: tuple[str, ...] = (f"uses the output {output} and ignores {', '.join(others)}; {alone}",) if others else ()
    if kind != "float":
        remarks += (f"takes {kind} pictures: it is computed in float32",)
    return ImportedNetwork(module, height, width, remarks)


class _Assembly:
    """The graph under construction. Every value is a constant or a tensor computed from one picture."""

    def __init__(self, model: onnx.ModelProto, picture: str, height: int, width: int) -> None:
        self.opset = opset_of(model)
        self.graph, self.root = fx.Graph(), nn.Module()
        self.constants: dict[str, NDArray[Any]] = {tensor.name: _array(tensor) for tensor in model.graph.initializer}
        self.nodes: dict[str, fx.Node] = {picture: self.graph.placeholder("image")}
        self.tensors: dict[str, Tensor] = {
            picture: torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        }
        self.unbatched: set[str] = set()  # tensors without a batch axis in the ONNX graph, which here still have it
        self.moved: dict[str, tuple[int, Op]] = {}  # tensors whose batch is not axis 0: its axis, and what moved it
        self.folded = 0  # elements of all computed constants
        self.uses = Counter(name for node in model.graph.node for name in read_by(node))
        self.uses.update(value.name for value in model.graph.output)

    def add(self, node: onnx.NodeProto, index: int) -> None:
        if node.op_type == "If" and node.domain in ("", "ai.onnx") and node.input[0] in self.constants:
            self._branch(node, index)
            return
        op = self._op(node, index)
        live = [name for name in node.input if name in self.tensors]
        op = self._follow_batch(op, node, live)
        self._keep_batch(op, node, live)
        if op.kind in ALIASES:
            self._alias(node.input[0], node.output[0])
        elif op.kind == "Shape" and live:
            shape = np.array(self.tensors[live[0]].shape, dtype=np.int64)
            self.constants[node.output[0]] = shape[op.attributes.get("start", 0) : op.attributes.get("end")]
        elif not live:
            self._fold(node, op)
        else:
            self._call(node, op, live)
        for name in set(live):
            self.uses[name] -= sum(name == used for used in node.input)
            if not self.uses[name]:
                del self.tensors[name]

    def _follow_batch(self, op: Op, node: onnx.NodeProto, live: list[str]) -> Op:
        """The operation with its batch axis filled in; also records the batch axis of its outputs."""
        moved = [self.moved[name] for name in live if name in self.moved]
        if not live or (not moved and op.kind != "Transpose"):
            return op
        axes = {self.moved[name][0] if name in self.moved else 0 for name in live}
        ranks = {self.tensors[name].dim() for name in live}
        by = moved[0][1] if moved else op
        op = replace(op, batch=axes.pop())
        alike = not axes and len(ranks) == 1
        after = batch_after(op, ranks.pop(), op.kind in POINTWISE | ALIASES) if alike else None
        if after is None:
            raise by.refusal("moves the batch axis")
        if after:
            self.moved.update(dict.fromkeys(node.output, (after, by)))
        return op

    def _keep_batch(self, op: Op, node: onnx.NodeProto, live: list[str]) -> None:
        """Follow tensors whose batch axis the graph squeezes away but which keep it here, so that axis numbers differ.

        Raises ModelError for an operation that refers to axes by number, or combines such tensors with others.
        """
        unbatched = [name for name in live if name in self.unbatched]
        if unbatched:
            rank = len(self.tensors[unbatched[0]].shape)
            known = [operand for operand in op.operands if operand is not None and operand.constant is not None]
            alone = len(unbatched) == len(live) and all(len(operand.shape) < rank for operand in known)
            if op.kind not in ALIASES and not (op.kind in POINTWISE and alone):
                raise op.refusal("works on pictures whose batch axis was squeezed away")
        if unbatched or (op.kind == "Squeeze" and live and squeezes_batch(op)):
            self.unbatched.update(node.output)

    def _branch(self, node: onnx.NodeProto, index: int) -> None:
        """Add the nodes of the branch that a known condition takes; exporters write an If when a shape decides."""
        branches = {item.name: item.g for item in node.attribute}
        taken = branches["then_branch" if self.constants[node.input[0]].reshape(-1)[0] else "else_branch"]
        self.constants.update({tensor.name: _array(tensor) for tensor in taken.initializer})
        for inner in taken.node:
            self.add(inner, index)
        for value, name in zip(taken.output, node.output, strict=True):
            self._alias(value.name, name)
            if value.name in self.unbatched:
                self.unbatched.add(name)
            if value.name in self.moved:
                self.moved[name] = self.moved[value.name]

    def pixels_of_depth(self, output: str) -> int:
        """Pixels of an output that may be depth, else 0: the largest of several maps is taken as the depth."""
        shape = self.tensors[output].shape if output in self.tensors else ()
        return shape[-2] * shape[-1] if len(shape) == 3 or (len(shape) == 4 and shape[1] == 1) else 0

    def finish(self, output: str) -> fx.GraphModule:
        if output not in self.nodes:
            raise ModelError(f"The ONNX output {output} does not depend on the picture", fix="Export the network again")
        if output in self.moved:
            raise self.moved[output][1].refusal("moves the batch axis")
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

    def _fold(self, node: onnx.NodeProto, op: Op) -> None:
        op = replace(op, most=_MOST_FOLDED)
        if op.kind not in FOLDABLE:
            self._fold_as_built(node, op)
            return
        if op.kind == "Range":
            start, limit, step = (float(self.constants[name].reshape(-1)[0]) for name in node.input)
            op.bounded((max(1, math.ceil((limit - start) / step)),))
        if op.kind in ("ConstantOfShape", "Expand"):
            op.bounded(tuple(int(item) for item in self.constants[node.input[-1]]))
        if op.kind in _SPREADING:
            op.broadcast()
        if op.kind == "MatMul":
            op.bounded(_product(op))
        try:
            feeds = {name: self.constants[name] for name in node.input if name}
            values = ReferenceEvaluator(_single(node, self.opset)).run(None, feeds)
        except Exception as error:  # the reference evaluator raises whatever numpy does
            raise op.refusal(f"cannot be computed ({error})") from error
        self._keep({name: np.asarray(value) for name, value in zip(node.output, values, strict=False)}, op)

    def _fold_as_built(self, node: onnx.NodeProto, op: Op) -> None:
        """Compute a constant with the operation's own module, such as an enlarged position embedding."""
        given = op.weights(0)
        if given.numel() > _MOST_FOLDED:
            raise op.refusal(f"works on a constant of shape {list(given.shape)}")
        asked = replace(op, operands=(Operand(op.data.shape), *op.operands[1:]))
        result = self._built(asked, (given,))[1]
        parts = [result] if isinstance(result, Tensor) else list(result)
        self._keep({name: part.numpy() for name, part in zip(node.output, parts, strict=True)}, op)

    def _keep(self, made: dict[str, NDArray[Any]], op: Op) -> None:
        self.folded += sum(value.size for value in made.values())
        if self.folded > 4 * _MOST_FOLDED:
            raise op.refusal("computes more constants than a network needs")
        self.constants.update(made)

    def _call(self, node: onnx.NodeProto, op: Op, live: list[str]) -> None:
        if op.kind not in BUILDERS:
            raise op.refusal("is supported on constants only, but depends on the picture here")
        whole = any(self.tensors[name].dtype == torch.int64 for name in live)
        if whole and op.kind not in _INTEGER_OPERATIONS:
            raise op.refusal("computes with integers that depend on the picture")
        target = self._unused_name(op.name)
        module, result = self._built(op, tuple(self.tensors[name] for name in live))
        self.root.add_module(target, module)
        called = self.graph.call_module(target, tuple(self.nodes[name] for name in live))
        if isinstance(result, Tensor):
            called.meta[SHAPE] = tuple(result.shape)
            self.nodes[node.output[0]], self.tensors[node.output[0]] = called, result
            return
        for position, (name, part) in enumerate(zip(node.output, result, strict=True)):
            self.nodes[name] = self.graph.call_function(operator.getitem, (called, position))
            self.tensors[name] = part

    def _built(self, op: Op, given: tuple[Tensor, ...]) -> tuple[nn.Module, Any]:
        """The module of an operation, and its result for these tensors."""
        try:
            module = BUILDERS[op.kind](op).eval()
            return module, module(*given)
        except ModelError:
            raise
        except Exception as error:  # attributes may hold anything, and torch raises many kinds of error
            reason = first_line(error)
            raise op.refusal(f"cannot be run ({reason})") from error

    def _unused_name(self, label: str) -> str:
        label = unicodedata.normalize("NFKC", label)  # as Python does with the names in the code that fx writes
        name = re.sub(r"\W+", "_", label).strip("_").lower() or "node"
        name = f"node_{name}" if name[0].isdigit() or name in _TAKEN else name
        taken, number = name, 2
        while hasattr(self.root, taken):
            taken, number = f"{name}_{number}", number + 1
        return taken


def _picture(model: onnx.ModelProto, path: Path, size: tuple[int, int] | None) -> tuple[str, int, int, str]:
    """Name, height, width and type of the only input. Raises ModelError unless it is RGB pictures of a known size."""
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in given]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise ModelError(f"{path} has the inputs {names}; a single picture is needed", fix="Export it with one input")
    tensor = inputs[0].type.tensor_type
    dims = [int(dim.dim_value) if dim.dim_value > 0 else None for dim in tensor.shape.dim]  # some write -1 for unknown
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    if kind not in _FLOATS:
        raise ModelError(f"{path} takes {kind} pictures, not {' or '.join(_FLOATS)}", fix="Export it in float32")
    if len(dims) != 4 or dims[1] not in (3, None) or (dims[1] is None and size is None):
        shape = [dim if dim is not None else "?" for dim in dims]
        raise ModelError(f"{path} takes {shape}; pictures [N, 3, H, W] are needed", fix="Export it for RGB pictures")
    height, width = (dims[2], dims[3]) if size is None else size
    if height is None or width is None:
        raise ModelError(
            f"{path} does not state its height and width",
            fix=f"State them in {path.name}.input.json beside it, such as {INPUT_EXAMPLE}",
        )
    if dims[2] not in (height, None) or dims[3] not in (width, None):
        own = "x".join("?" if dim is None else str(dim) for dim in dims[2:])
        raise ModelError(f"{path} takes {own} pictures, not {height}x{width}", fix="State its own size")
    if not 0 < height * width <= _MOST_PIXELS:
        raise ModelError(f"{path} declares pictures of {height}x{width}", fix="Export it for a size that can be run")
    return inputs[0].name, height, width, kind


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


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
