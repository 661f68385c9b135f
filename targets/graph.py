"""The fp32 ONNX model that every target builds from: reading and checking it, and telling its nodes apart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.errors import FileError, ModelError
from calibration.files import replacing, sha256_bytes
from calibration.images import CalibrationSet
from calibration.reasons import first_line
from targets.input import InputSpec

if TYPE_CHECKING:
    import onnx

__all__ = [
    "ACTIVATIONS",
    "INPUT_KEY",
    "LAYERS",
    "TEACHER_KEY",
    "DepthGraph",
    "body",
    "copy_model",
    "drop_unused",
    "feeding",
    "inner",
    "load_model",
    "mark",
    "metadata",
    "name_nodes",
    "opset_of",
    "read_by",
    "read_graph",
    "shapes_of",
    "subgraphs",
    "write_model",
]

INPUT_KEY = "edgekd.input"
"""The metadata key that holds the InputSpec as JSON."""

TEACHER_KEY = "edgekd.teacher"
"""The metadata key that holds name and digest of the teacher."""

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""The operators that have weights."""

ACTIVATIONS = frozenset({"Clip", "Relu"})
"""The operators that a runtime fuses into the preceding layer."""

OPSETS = range(13, 24)
"""13 introduced Q/DQ per channel; `edgekd` exports 17, the newest that TensorRT 8.5 reads."""

_EXPORT = "Export it again with edgekd.models.to_onnx.export_onnx"


@dataclass(frozen=True)
class DepthGraph:
    """A checked model: `image` uint8 [N, H, W, 3] in, `depth` float32 [N, H, W] in metres out."""

    path: Path
    sha256: str
    input: InputSpec
    model: onnx.ModelProto


def read_graph(path: Path) -> DepthGraph:
    """Read and check an fp32 model. Raises FileError or ModelError naming what is wrong."""
    import onnx

    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FileError(f"Cannot read {path}: {error.strerror}", fix="Check the path and its permissions") from error
    try:
        model = onnx.load_model_from_string(data)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and the checker raise several unrelated types
        reason = first_line(error)
        raise ModelError(f"{path} is not a valid ONNX model ({reason})", fix=_EXPORT) from error
    return DepthGraph(Path(path), sha256_bytes(data), _check(model, path), model)


def load_model(path: Path) -> onnx.ModelProto:
    """Read a model that this package has written."""
    import onnx

    return onnx.load_model(path)


def write_model(path: Path, model: onnx.ModelProto) -> None:
    """Write a model in one file, completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def mark(model: onnx.ModelProto, *, student: str, calibration: CalibrationSet | None) -> None:
    """Record in the metadata which fp32 model and which calibration set a model was made from."""
    from onnx import helper

    made_from = {"edgekd.student": student}
    if calibration is not None:
        made_from["edgekd.calibration"] = calibration.digest
    helper.set_model_props(model, {**metadata(model), **made_from})


def copy_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that can be changed."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


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


def read_by(node: onnx.NodeProto) -> Iterator[str]:
    """A node's inputs, and what its branches or body read from the graph around them."""
    yield from node.input
    for inside in subgraphs(node):
        for within in inside.node:
            yield from read_by(within)
        yield from (output.name for output in inside.output)


def shapes_of(model: onnx.ModelProto) -> dict[str, list[int]]:
    """The shape of each tensor that is computed, where it can be inferred; 0 stands for an unknown size."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The branches of an If, the body of a Loop or Scan."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


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
    """
    behind_layer = _behind_layers(model)
    return [node for node in body(model, kinds) if any(name in behind_layer for name in node.input)]


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


def _behind_layers(model: onnx.ModelProto) -> set[str]:
    """Tensors with a layer upstream, except what is computed from shapes alone."""
    found: set[str] = set()
    for node in model.graph.node:
        if node.op_type in ("Shape", "Size"):
            continue
        if node.op_type in LAYERS or any(name in found for name in node.input):
            found.update(node.output)
    return found


def opset_of(model: onnx.ModelProto) -> int:
    """The model's version of the standard operators. Files older than ONNX 1.0 state none, which means 1."""
    return max((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    """The model's metadata by key."""
    return {entry.key: entry.value for entry in model.metadata_props}


def _check(model: onnx.ModelProto, path: Path) -> InputSpec:
    from onnx import TensorProto

    if INPUT_KEY not in metadata(model):
        raise ModelError(f"{path} has no {INPUT_KEY} in its metadata: its input is not described", fix=_EXPORT)
    try:
        spec = InputSpec.from_json(json.loads(metadata(model)[INPUT_KEY]))
    except ValueError as error:
        raise ModelError(f"{path}: {INPUT_KEY} in its metadata is not JSON ({error})", fix=_EXPORT) from error
    rounded = next((node for node in model.graph.node if "Quantize" in node.op_type or "QLinear" in node.op_type), None)
    if rounded is not None:
        raise ModelError(
            f"{path} is already int8 ({rounded.op_type} {rounded.name!r}): what one runtime wrote another may read "
            "wrongly, as TensorRT reads uint8 as int8",
            fix="Build from the fp32 model; each target gets the encoding that it reads",
        )
    used = {node.domain or "ai.onnx" for node in model.graph.node}
    if used != {"ai.onnx"}:
        raise ModelError(f"{path} uses non-standard operators ({', '.join(sorted(used))})", fix=_EXPORT)
    if opset_of(model) not in OPSETS:
        raise ModelError(
            f"{path} has opset {opset_of(model)}; {OPSETS.start} to {OPSETS.stop - 1} is needed", fix=_EXPORT
        )
    constants = {constant.name for constant in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    _check_tensor(path, "input", inputs, "image", TensorProto.UINT8, (None, spec.height, spec.width, 3))
    depth_shape = (None, spec.height, spec.width)
    _check_tensor(path, "output", list(model.graph.output), "depth", TensorProto.FLOAT, depth_shape)
    return spec


def _check_tensor(
    path: Path, role: str, values: list[Any], name: str, kind: int, shape: tuple[int | None, ...]
) -> None:
    from onnx import helper

    if [value.name for value in values] != [name]:
        raise ModelError(f"{path} must have one {role} named {name!r}, not {[v.name for v in values]}", fix=_EXPORT)
    if not values[0].type.HasField("tensor_type"):
        raise ModelError(f"{path}: {role} {name!r} is not a tensor", fix=_EXPORT)
    tensor = values[0].type.tensor_type
    found = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
    fits = len(found) == len(shape) and all(
        # An exporter may leave the sizes of the output open; those of the input must be stated.
        want is None or have == want or (have is None and role == "output")
        for have, want in zip(found, shape, strict=False)
    )
    if role == "input" and found and found[0] is not None:
        raise ModelError(f"{path} was exported for a fixed batch of {found[0]}", fix=_EXPORT)
    if tensor.elem_type != kind or not fits:
        raise ModelError(
            f"{path}: {role} {name!r} is {helper.tensor_dtype_to_np_dtype(tensor.elem_type)} {_sizes(found)}, "
            f"not {helper.tensor_dtype_to_np_dtype(kind)} {_sizes(shape)}",
            fix=_EXPORT,
        )


def _sizes(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("N" if size is None else str(size) for size in shape) + "]"
