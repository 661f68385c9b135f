"""What a mesh file declares, added up before it is unpacked: a small one can ask for gigabytes, or for minutes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

__all__ = ["MOST_BYTES", "PER_ITEM", "check_declared"]

MOST_BYTES = 512 << 20  # of a mesh, of what it unpacks to, and of the files beside it together
_MOST_NODES = 2000  # with primitives, which become nodes: trimesh's time grows faster than their number
_MOST_CHANGES = 5000  # of an OBJ file's material: trimesh's time grows with their square
_COMPRESSED = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression")
PER_ITEM = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
"""Numbers in each item of an accessor."""

_BYTES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}  # componentType, glTF 2.0, 3.6.2.2


def check_declared(path: Path) -> None:
    """Raises ValueError, KeyError or TypeError for a mesh file that unpacks to too much, or is only named like glTF."""
    data, suffix = path.read_bytes(), path.suffix.lower()
    if suffix == ".obj" and (changes := data.count(b"usemtl")) > _MOST_CHANGES:
        raise ValueError(f"it changes material {changes:,} times, over {_MOST_CHANGES:,}")
    if suffix == ".glb":
        data = data[20 : 20 + int.from_bytes(data[12:16], "little")]
    if suffix in (".glb", ".gltf"):
        _check_gltf(json.loads(data))


def _check_gltf(header: Any) -> None:
    if compressed := [name for name in header.get("extensionsRequired", []) if name in _COMPRESSED]:
        raise ValueError(f"it is compressed with {compressed[0]}: export it without")
    nodes = len(header.get("nodes", [])) + sum(len(mesh["primitives"]) for mesh in header.get("meshes", []))
    if nodes > _MOST_NODES:
        raise ValueError(f"it has {nodes:,} nodes and primitives, over {_MOST_NODES:,}")
    sizes = [_size(accessor) for accessor in header.get("accessors", [])]
    total = sum(sizes) + sum(_count(view["byteLength"]) for view in header.get("bufferViews", []))
    for mesh in header.get("meshes", []):
        for primitive in mesh["primitives"]:  # each becomes a mesh with copies of what it names
            used = [*primitive["attributes"].values(), *([primitive["indices"]] if "indices" in primitive else [])]
            total += sum(sizes[_count(index)] for index in used)
    if total > MOST_BYTES:
        raise ValueError(f"it unpacks to {math.ceil(total / (1 << 20)):,} MB, over {MOST_BYTES >> 20} MB")


def _size(accessor: Any) -> int:
    each = 4 if accessor.get("normalized") else _BYTES[accessor["componentType"]]  # shares become floats
    return _count(accessor["count"]) * PER_ITEM[accessor["type"]] * each


def _count(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r:.40} is not a count")
    return value
