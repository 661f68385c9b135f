"""Reads an ONNX file from an unknown source, without trusting what it declares."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto

from calibration.errors import EdgekdError, FileError, ModelError
from calibration.files import sha256_bytes, sha256_file
from calibration.reasons import first_line
from edgekd.models.model_file import refuse_other_files
from targets.graph import opset_of
from targets.nodes import subgraphs

__all__ = ["digest_onnx", "read_onnx"]

_OPSETS = range(7, 26)


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read and check a model with its weights.

    Raises FileError when it is missing, truncated or not ONNX at all, ModelError when it is not valid or declares
    weights outside its own folder.
    """
    path = Path(path)
    refuse_other_files(path)
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, UnicodeDecodeError, OSError) as error:
        raise FileError(f"{path} is truncated or not an ONNX model", fix="Copy or export the file again") from error
    if not model.graph.node:
        raise FileError(f"{path} holds no ONNX graph", fix="Copy or export the file again")
    try:
        _load_external(model, path)
        onnx.checker.check_model(model)
    except EdgekdError:
        raise
    except Exception as error:  # invalid names or types, for which the checker has no single error
        reason = first_line(error)[:200]
        raise ModelError(f"{path} is not a valid ONNX model ({reason})", fix="Export it again") from error
    if opset_of(model) not in _OPSETS:
        raise ModelError(
            f"{path} has opset {opset_of(model)}; {_OPSETS.start} to {_OPSETS.stop - 1} are supported",
            fix="Convert it with onnx.version_converter",
        )
    return model


def digest_onnx(path: Path) -> str:
    """SHA-256 of the file or, if its weights are in other files, over its digest and theirs."""
    model = onnx.load(path, load_external_data=False)
    external = [tensor for tensor in _tensors(model.graph) if tensor.data_location == TensorProto.EXTERNAL]
    names = sorted({entry.value for tensor in external for entry in tensor.external_data if entry.key == "location"})
    digests = [sha256_file(Path(path)), *(sha256_file(Path(path).parent / name) for name in names)]
    return digests[0] if not names else sha256_bytes(" ".join(digests).encode())


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Every tensor that may keep its weights in another file: initialisers and nodes' constants, also in subgraphs."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
        for inside in subgraphs(node):
            yield from _tensors(inside)


def _load_external(model: onnx.ModelProto, path: Path) -> None:
    """Load weights from other files, each of which must be in the model's folder and as long as declared."""
    folder = path.parent.resolve()
    external = [tensor for tensor in _tensors(model.graph) if tensor.data_location == TensorProto.EXTERNAL]
    for tensor in external:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        file = (folder / location).resolve()
        if not location or not file.is_relative_to(folder):
            raise ModelError(
                f"{path} keeps the weights {tensor.name} at {location!r}, outside its own folder",
                fix="Save it with onnx.save(model, path), all weights in one file",
            )
        try:
            offset, declared = int(entries.get("offset", 0)), int(entries.get("length", -1))
            size = file.stat().st_size
        except (OSError, ValueError) as error:
            raise FileError(
                f"The weights file {file} of {path} cannot be read", fix="Copy it next to the model"
            ) from error
        needed = math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        if offset < 0 or needed < 0 or declared not in (-1, needed) or offset + needed > size:
            raise FileError(
                f"{file} is too short for the weights {tensor.name} {list(tensor.dims)} of {path}",
                fix="Copy or export both files again",
            )
    if external:
        onnx.load_external_data_for_model(model, str(folder))
