"""Numbers of a glTF that trimesh takes as they are stored: shares in integers, coordinates that a material moves."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.simulate.meshes.beside import FilesBeside
from edgekd.simulate.meshes.declared import PER_ITEM

__all__ = ["as_floats"]

_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5126: "<f4"}


def as_floats(header: Any, chunk: bytes, beside: FilesBeside) -> bool:
    """Give each primitive floats for normalised integers, and for TEXCOORD_0 the coordinates of the material's picture,
    moved as KHR_texture_transform says. Returns whether anything was altered. `chunk` is a .glb's binary part."""
    done: dict[str, int] = {}  # many primitives may share the same numbers
    files: dict[str | None, bytes] = {None: chunk}
    altered = False
    for primitive in (one for mesh in header.get("meshes", []) for one in mesh["primitives"]):
        attributes, picture = primitive["attributes"], _picture(header, primitive)
        move = picture.get("extensions", {}).get("KHR_texture_transform", {})
        coordinates = f"TEXCOORD_{move.get('texCoord', picture.get('texCoord', 0))}"
        for name, becomes in (("POSITION", "POSITION"), ("NORMAL", "NORMAL"), (coordinates, "TEXCOORD_0")):
            if name not in attributes:
                continue
            before, moved = attributes[name], move if becomes == "TEXCOORD_0" else {}
            after = before
            if moved or header["accessors"][before].get("normalized"):
                key = json.dumps([before, moved])
                if key not in done:
                    done[key] = _append(header, _moved(_stored(header, before, files, beside), moved), beside)
                after = done[key]
            altered |= attributes.get(becomes) != after
            attributes[becomes] = after
    return altered


def _picture(header: Any, primitive: Any) -> Any:
    """What the material of a primitive says of its picture."""
    material = header["materials"][primitive["material"]] if "material" in primitive else {}
    return material.get("pbrMetallicRoughness", {}).get("baseColorTexture", {})


def _stored(header: Any, number: int, files: dict[str | None, bytes], beside: FilesBeside) -> NDArray[np.float32]:
    """An accessor's values [N, K] (glTF 2.0, 3.6.2). `files` keeps what was read. Raises errors of any type."""
    accessor = header["accessors"][number]
    view = header["bufferViews"][accessor["bufferView"]]
    uri = header["buffers"][view["buffer"]].get("uri")
    if uri not in files:
        files[uri] = base64.b64decode(uri.partition(",")[2]) if uri.startswith("data:") else beside.get(uri)
    kind, width = np.dtype(_TYPES[accessor["componentType"]]), PER_ITEM[accessor["type"]]
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    stride = view.get("byteStride", kind.itemsize * width)
    if stride < kind.itemsize * width:
        raise ValueError(f"values every {stride} bytes overlap")
    rows = np.ndarray((accessor["count"], width), kind, files[uri], start, (stride, kind.itemsize))
    scale = np.iinfo(kind).max if accessor.get("normalized") and kind.kind != "f" else 1
    values: NDArray[np.float32] = rows.astype(np.float32) / np.float32(scale)
    return values if scale == 1 else np.maximum(values, np.float32(-1))  # integers reach one further below 0


def _moved(values: NDArray[np.float32], move: Any) -> NDArray[np.float32]:
    """Texture coordinates scaled, turned counter-clockwise (v runs down) and shifted."""
    if not move:
        return values
    turn, (across, down) = move.get("rotation", 0.0), move.get("scale", (1.0, 1.0))
    cos, sin = math.cos(turn), math.sin(turn)
    whole = np.array([[cos * across, sin * down], [-sin * across, cos * down]])
    shifted: NDArray[np.float32] = (values @ whole.T + np.array(move.get("offset", (0.0, 0.0)))).astype(np.float32)
    return shifted


def _append(header: Any, values: NDArray[np.float32], beside: FilesBeside) -> int:
    """Add an accessor of these values in a buffer of its own; returns its number."""
    header["buffers"].append({"byteLength": values.nbytes, "uri": beside.add(values.tobytes())})
    header["bufferViews"].append({"buffer": len(header["buffers"]) - 1, "byteLength": values.nbytes})
    kind = {"bufferView": len(header["bufferViews"]) - 1, "componentType": 5126, "count": len(values)}
    header["accessors"].append({**kind, "type": f"VEC{values.shape[1]}"})
    return len(header["accessors"]) - 1
