"""A mesh file's bytes, altered where trimesh would read them wrongly or without bounds."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from edgekd.simulate.meshes.beside import FilesBeside, as_utf8
from edgekd.simulate.meshes.numbers import as_floats
from edgekd.simulate.meshes.polygons import split_concave

__all__ = ["content"]

_SPECULAR = "KHR_materials_pbrSpecularGlossiness"
_SAME = {"diffuseTexture": "baseColorTexture", "diffuseFactor": "baseColorFactor"}  # its names to glTF's own


def content(path: Path, beside: FilesBeside) -> io.BytesIO:
    """What trimesh is given of a file that passed `check_declared`. Raises errors of any type for a damaged one."""
    data, suffix = path.read_bytes(), path.suffix.lower()
    if suffix == ".obj":
        data = split_concave(as_utf8(data))
    elif suffix == ".ply":
        data = _plain_colours(data)
    elif suffix == ".gltf":
        data = _header(data, b"", beside)
    elif suffix == ".glb":
        end = 20 + int.from_bytes(data[12:16], "little")
        header, rest = _header(data[20:end], data[end + 8 :], beside), data[end:]
        header += b" " * (-len(header) % 4)
        total, length = (number.to_bytes(4, "little") for number in (20 + len(header) + len(rest), len(header)))
        data = data if header == data[20:end] else data[:8] + total + length + data[16:20] + header + rest
    return io.BytesIO(data)


def _plain_colours(data: bytes) -> bytes:
    """A PLY file with the colours of older programs (diffuse_red) under the names that trimesh reads."""
    header, end, rest = data.partition(b"end_header")
    if not re.search(rb"\sred\s", header):
        header = re.sub(rb"(?<=\s)diffuse_(?=(red|green|blue)\s)", b"", header)
    return header + end + rest


def _header(text: bytes, chunk: bytes, beside: FilesBeside) -> bytes:
    """A glTF's JSON, unchanged where nothing needs to be altered. `chunk` is the binary part after it."""
    header = json.loads(text)
    materials = header.get("materials", [])
    altered = [_drop_specular(material) for material in materials]
    altered.append(as_floats(header, chunk, beside))
    primitives = [primitive for mesh in header.get("meshes", []) for primitive in mesh["primitives"]]
    bare = [one for one in primitives if "COLOR_0" in one["attributes"] and "material" not in one]
    for primitive in bare:  # without a material, trimesh cuts colours of 16 bits to the lower 8
        primitive["material"] = len(materials)
    if not bare and not any(altered):
        return text
    header["materials"] = [*materials, {"pbrMetallicRoughness": {}}]
    return json.dumps(header).encode()


def _drop_specular(material: Any) -> bool:
    """Give a material of that old extension the plain form. trimesh would convert its pictures, which decodes them
    before their format and size are checked, and turns red ones white."""
    old = material.get("extensions", {}).pop(_SPECULAR, None)
    if old is None:
        return False
    material["pbrMetallicRoughness"] = {now: old[then] for then, now in _SAME.items() if then in old}
    return True
