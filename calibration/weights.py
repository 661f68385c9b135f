"""Weights files (safetensors) without torch: whether their tensors are still the ones written.

Source of the layout: the safetensors README, "Format": eight bytes with the header's length, the header as JSON, and
the tensors' bytes, which the header locates by offset.
"""

from __future__ import annotations

import hashlib
import json
import operator
from pathlib import Path
from typing import Any

from calibration.errors import FileError

__all__ = ["NETWORK", "STATISTICS", "kind_of_weights", "tensors_digest", "weights_fault"]

NETWORK, STATISTICS = "edgekd", "edgekd.statistics"
"""Metadata keys of the description in edgekd's files: a network's weights, a teacher's statistics."""

_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "BOOL": "bool",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
}
_LONGEST_HEADER = 100_000_000  # bytes: safetensors' own limit
_HEAD = 4096  # bytes within which edgekd writes the description


def kind_of_weights(path: Path) -> str:
    """STATISTICS, or NETWORK for every other file; works on a damaged file too. Raises FileError."""
    try:
        with open(path, "rb") as stream:
            return STATISTICS if f'"{STATISTICS}"'.encode() in stream.read(_HEAD) else NETWORK
    except OSError as error:
        raise _unreadable(path, error) from error


def weights_fault(path: Path) -> str | None:
    """What is wrong with a file's tensors, in words; None when they have the digest that the file states.

    Raises FileError for a file that is damaged, or that states no digest because edgekd did not write it.
    """
    header, data = _read(path)
    try:
        kept = header.get("__metadata__", {})
        described = next(kept[key] for key in (NETWORK, STATISTICS) if key in kept)
        stated = json.loads(described)["weights"]
    except (StopIteration, ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise FileError(
            f"{path} states no digest: it was not written by edgekd", fix="Compare its sha256 by hand"
        ) from error
    return None if tensors_digest(header, data) == stated else "was altered after it was made"


def tensors_digest(header: dict[str, Any], data: memoryview) -> str:
    """Hex SHA-256 over the names, types, shapes and bytes of a file's tensors; as in `edgekd.models.weights`."""
    digest = hashlib.sha256()
    for name, tensor in sorted((name, value) for name, value in header.items() if name != "__metadata__"):
        start, end = map(operator.index, tensor["data_offsets"])
        shape = tuple(int(extent) for extent in tensor["shape"])
        digest.update(f"{name}|torch.{_TYPES.get(tensor['dtype'], tensor['dtype'])}|{shape}|".encode())
        digest.update(data[start:end])
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], memoryview]:
    damaged = FileError(f"{path} is not a complete safetensors file", fix="Copy it again")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(_LONGEST_HEADER, len(content) - 8):
        raise damaged
    try:
        header = json.loads(content[8 : 8 + length])
        data = memoryview(content)[8 + length :]
        used = 0
        for name, tensor in header.items():
            if name != "__metadata__":
                start, end = tensor["data_offsets"]
                if not 0 <= start <= end <= len(data) or not isinstance(tensor["dtype"], str):
                    raise ValueError(name)
                tuple(map(int, tensor["shape"]))
                used = max(used, end)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise damaged from error
    if used != len(data):
        raise damaged
    return header, data


def _unreadable(path: Path, error: OSError) -> FileError:
    return FileError(f"Cannot read {path}: {error.strerror}", fix="Check the path and its permissions")
