"""The fp32 ONNX model that every target builds from: read and checked, written, and what it records."""

from __future__ import annotations

import json
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
    "INPUT_KEY",
    "TEACHER_KEY",
    "DepthGraph",
    "copy_model",
    "load_model",
    "mark",
    "metadata",
    "opset_of",
    "read_graph",
    "write_model",
]

INPUT_KEY = "edgekd.input"
"""The metadata key that holds the InputSpec as JSON."""

TEACHER_KEY = "edgekd.teacher"
"""The metadata key that holds name and digest of the teacher."""

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
