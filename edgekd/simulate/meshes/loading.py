"""Turns a mesh file into the parts of a piece of furniture: metres, upright on the floor, back to the wall."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from calibration.errors import DataError
from edgekd.pictures.srgb import from_linear
from edgekd.simulate.material import Colour, Material
from edgekd.simulate.meshes.beside import FilesBeside
from edgekd.simulate.meshes.opening import Piece, open_pieces, quiet, texture
from edgekd.simulate.meshes.tiles import BASIS, Tile, bake
from edgekd.simulate.palette import linear
from edgekd.simulate.shapes import Floats, Part

__all__ = ["LOADER", "MESH_SUFFIXES", "UNPAINTED", "load_mesh"]

LOADER = 4  # raised whenever a file gives different parts than before
MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".ply")
UNPAINTED = Material("plain", ((0.6, 0.6, 0.6),) * 3)
"""For a mesh without any colour, which is painted when it is placed."""

_LARGEST, _SMALLEST = 10.0, 0.01  # metres along the longest side
_CREASE = 0.7  # cosine between a corner's normal and its triangle's below which an edge is sharp
_COLOURS = 64  # most colours of a mesh with coloured vertices or faces: each is a material of its own
# Rows: our axes (x right, y front, z up) in the file's. glTF and OBJ: y up, z to the front. PLY: z up, -y to the front.
_Y_UP = np.array([[-1, 0, 0], [0, 0, 1], [0, 1, 0]], np.float32)
_Z_UP = np.array([[-1, 0, 0], [0, -1, 0], [0, 0, 1]], np.float32)

_Tiles = dict[tuple[int, Colour], Tile]  # by the picture's id and its factor


def load_mesh(path: Path, beside: FilesBeside | None = None) -> list[Part]:
    """The parts of a glTF, OBJ or PLY file, centred, standing on z = 0. `beside` records which files were read.

    Raises DataError saying what is wrong with it: unreadable, without triangles, not in metres, larger than any
    furniture needs, or with files from elsewhere.
    """
    pieces = open_pieces(path, beside or FilesBeside(path))
    axes = _Z_UP if path.suffix.lower() == ".ply" else _Y_UP
    try:
        tiles: _Tiles = {}
        origin = _origin(pieces)
        parts = [part for piece in pieces for part in _parts(piece, origin, axes, tiles)]
    except (ValueError, IndexError, TypeError, AttributeError, OSError) as error:
        raise DataError(f"{path} has colours or textures that cannot be read ({error})", fix="Save it again") from error
    if not parts:
        raise DataError(f"{path} has no triangles with non-zero area", fix="Remove it")
    points = np.concatenate([part.points.reshape(-1, 3) for part in parts])
    low, high = points.min(axis=0), points.max(axis=0)
    _check_unit(path, float((high - low).max()))
    shift = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]], np.float32)
    return [Part(part.points - shift, part.normals, part.uvs, part.material) for part in parts]


def _check_unit(path: Path, side: float) -> None:
    if _SMALLEST <= side <= _LARGEST:
        return
    units = (("centimetres", 0.01), ("millimetres", 0.001)) if side > 1 else (("kilometres", 1000.0),)
    likely = [f"in {name} (times {factor:g})" for name, factor in units if 0.05 <= side * factor <= 4]
    hint = f"It looks {' or '.join(likely)}: scale it to metres" if likely else "Scale it to metres"
    raise DataError(f"{path} is {side:.3g} m along its longest side, not the size of furniture", fix=hint)


def _origin(pieces: list[Piece]) -> Any:
    """A point [3] near the mesh. A scan in a country's coordinates lies where float32 has steps of half a metre."""
    corners = np.concatenate([np.zeros((0, 3)), *(np.asarray(piece.mesh.vertices, np.float64) for piece in pieces)])
    known = corners[np.isfinite(corners).all(axis=1)]
    return np.median(known, axis=0) if len(known) else np.zeros(3)


def _parts(piece: Piece, origin: Any, axes: Floats, tiles: _Tiles) -> Iterator[Part]:
    """The parts of one piece, one per material. `tiles` keeps the pictures that several pieces share."""
    faces = np.asarray(piece.mesh.faces)
    points = (np.asarray(piece.mesh.vertices, np.float64) - origin).astype(np.float32)[faces] @ axes.T
    across = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    area = np.linalg.norm(across, axis=1)
    good = np.isfinite(points).all(axis=(1, 2)) & (area > 1e-12)
    if not good.any():
        return
    flat = (across / np.maximum(area, 1e-12)[:, None])[:, None, :]
    with quiet():
        smooth = np.asarray(piece.mesh.vertex_normals, np.float32)[faces] @ axes.T
    sharp = ((smooth * flat).sum(axis=2) < _CREASE) | ~np.isfinite(smooth).all(axis=2)
    normals = np.where(sharp[..., None], flat, smooth).astype(np.float32)
    uvs, owner, materials = _looks(piece.visual, faces, tiles)
    for number, material in enumerate(materials):
        chosen = good & (owner == number)
        if chosen.any():
            yield Part(points[chosen], normals[chosen], uvs[chosen], material)


def _looks(visual: Any, faces: Any, tiles: _Tiles) -> tuple[Floats, Any, list[Material]]:
    """Texture coordinates [T, 3, 2], the number of each triangle's material, and the materials."""
    none = np.zeros((len(faces), 3, 2), np.float32)
    owner = np.zeros(len(faces), np.intp)
    if visual.kind == "texture":
        picture, factor = texture(visual), _factor(visual.material)
        if picture is None and visual.vertex_attributes.get("color") is not None:  # glTF's, see content.py
            return none, *_coloured(_stored(_corner_colours(visual, faces).mean(axis=1) * np.array(factor or 1.0)))
        if factor is None:
            return none, owner, [UNPAINTED]
        if picture is None or visual.uv is None:
            return none, owner, [Material("plain", (factor,) * 3, gloss=0.1)]
        uvs = np.asarray(visual.uv, np.float32)[faces]
        uvs = np.stack([uvs[..., 0], 1 - uvs[..., 1]], axis=-1)  # trimesh counts v from the bottom
        if not np.isfinite(uvs).all():
            raise ValueError("texture coordinates that are not finite")
        if (id(picture), factor) not in tiles:
            tiles[id(picture), factor] = bake(picture, factor)
        return uvs, owner, [Material("plain", BASIS, gloss=0.1, stretch=True, tile=tiles[id(picture), factor])]
    if visual.kind in ("vertex", "face"):
        return none, *_coloured(np.asarray(visual.face_colors)[:, :3])
    return none, owner, [UNPAINTED]


def _corner_colours(visual: Any, faces: Any) -> Floats:
    """Linear colours [T, 3, 3] in 0..1, from floats or from normalised integers."""
    colours = np.asarray(visual.vertex_attributes["color"])
    scale = np.iinfo(colours.dtype).max if np.issubdtype(colours.dtype, np.integer) else 1
    found: Floats = np.nan_to_num(colours[faces][..., :3].astype(np.float32) / scale)
    return found


def _stored(colours: Any) -> Any:
    """Linear colours in 0..1 as the nearest uint8 of sRGB, whose steps look alike in dark and in light colours."""
    return np.round(255 * from_linear(np.clip(colours, 0, 1))).astype(np.uint8)


def _coloured(colours: Any) -> tuple[Any, list[Material]]:
    """The number of each triangle's material and the materials, from each triangle's colour [T, 3], uint8 of sRGB."""
    step = 8
    while len(np.unique(colours // step, axis=0)) > _COLOURS:
        step *= 2
    values, owner = np.unique(colours // step, axis=0, return_inverse=True)
    shown = [linear(*(min(255, value * step + step / 2) / 255 for value in row)) for row in values.tolist()]
    return owner.reshape(-1), [Material("plain", (colour,) * 3, gloss=0.1) for colour in shown]


def _factor(material: Any) -> Colour | None:
    """A material's colour in linear light: glTF stores it so, OBJ in sRGB. White for a picture or glTF without one,
    None where there is no colour at all: trimesh then makes up a dark grey, and a picture of it (with format None)."""
    if hasattr(material, "baseColorFactor"):
        if material.baseColorFactor is None:
            return 1.0, 1.0, 1.0
        red, green, blue = _shares(material.baseColorFactor)
        return red, green, blue
    picture = getattr(material, "image", None)
    if "kd" not in getattr(material, "kwargs", {}):
        return None if picture is None or picture.format is None else (1.0, 1.0, 1.0)
    red, green, blue = _shares(material.diffuse)
    if picture is not None and max(red, green, blue) < 0.05:
        return 1.0, 1.0, 1.0  # exporters leave Kd black where a picture gives the colour
    return linear(red, green, blue)


def _shares(colour: Any) -> list[float]:
    return [float(part) / 255 for part in np.asarray(colour).ravel()[:3]]
