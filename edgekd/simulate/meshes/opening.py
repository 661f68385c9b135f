"""Opening a mesh file that comes from anywhere: what it names, declares and holds is bounded before it is unpacked."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from calibration.errors import DataError, MissingRuntimeError
from edgekd.pictures.reading import FORMATS
from edgekd.simulate.meshes.beside import FilesBeside
from edgekd.simulate.meshes.content import content
from edgekd.simulate.meshes.declared import MOST_BYTES, check_declared

__all__ = ["Piece", "open_pieces", "quiet", "require_trimesh", "texture"]

_MOST_PIECES, _MOST_TRIANGLES = 2000, 300_000
_MOST_PIXELS = 4 * (Image.MAX_IMAGE_PIXELS or 0)  # of all textures together


@dataclass(frozen=True)
class Piece:
    """One of a scene's meshes, in place, and its visual, which is shared: trimesh would copy textures for each node."""

    mesh: Any
    visual: Any


def open_pieces(path: Path, beside: FilesBeside) -> list[Piece]:
    """The meshes of a file where its scene places them.

    Raises DataError when it is damaged, names files outside its folder, or holds more than any furniture does.
    """
    placed = _placed(path, beside)
    count = sum(len(geometry.faces) for geometry, _ in placed)
    for what, found, most in (("pieces", len(placed), _MOST_PIECES), ("triangles", count, _MOST_TRIANGLES)):
        if found > most:
            raise DataError(f"{path} has {found:,} {what}, over {most:,}", fix="Simplify it")
    try:
        _check_pictures([geometry.visual for geometry, _ in placed])
        with quiet():
            return [_piece(geometry, transform) for geometry, transform in placed]
    except Exception as error:
        raise _damaged(path, error) from error


def _placed(path: Path, beside: FilesBeside) -> list[tuple[Any, Any]]:
    """The scene's meshes as trimesh holds them, once for each place, with the transform to it."""
    trimesh = require_trimesh()
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES >> 20} MB")
        check_declared(path)
        with quiet():
            scene = trimesh.load_scene(content(path, beside), file_type=path.suffix[1:].lower(), resolver=beside)
            places = [scene.graph[node] for node in scene.graph.nodes_geometry]
    except Exception as error:  # for damaged files, trimesh's readers raise errors of any type
        raise _outside(path, beside) or _damaged(path, error) from error
    if (outside := _outside(path, beside)) is not None:
        raise outside
    found = [(scene.geometry[name], transform) for transform, name in places]
    return [(geometry, transform) for geometry, transform in found if isinstance(geometry, trimesh.Trimesh)]


def require_trimesh() -> Any:
    """The module that reads meshes. Raises MissingRuntimeError."""
    try:
        import mapbox_earcut  # noqa: F401 - for concave faces
        import scipy.sparse  # noqa: F401 - trimesh's normals need it
        import trimesh
    except ImportError as error:
        raise MissingRuntimeError(
            f"Meshes of your own need trimesh, scipy and mapbox-earcut, not all of which are installed ({error})",
            fix='Run: pip install "edgekd[meshes]"',
        ) from error
    return trimesh


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence trimesh: edgekd itself says what is wrong with a mesh. The level also applies to child loggers."""
    logger = logging.getLogger("trimesh")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def texture(visual: Any) -> Image.Image | None:
    """The picture that gives a mesh its colours, not yet decoded."""
    material = getattr(visual, "material", None)
    found = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    return found if isinstance(found, Image.Image) else None


def _outside(path: Path, beside: FilesBeside) -> DataError | None:
    if beside.outside is None:
        return None
    return DataError(
        f"{path} names {beside.outside[:80]!r}, which is outside its folder", fix="Put that file into the mesh's folder"
    )


def _damaged(path: Path, error: Exception) -> DataError:
    cause = " ".join(str(error).split())[:120] or type(error).__name__
    return DataError(f"{path} is damaged or not a readable mesh ({cause})", fix="Export it again")


def _check_pictures(visuals: list[Any]) -> None:
    """Refuse, before any is decoded, formats that Pillow decodes with a program, and more pixels than can be held."""
    pictures = {id(picture): picture for visual in visuals if (picture := texture(visual)) is not None}
    for picture in pictures.values():
        if picture.format not in (None, *FORMATS):  # None: made by trimesh, where an OBJ file has no material
            raise ValueError(f"a texture is {picture.format}, not one of {', '.join(FORMATS)}")
    sizes = [picture.width * picture.height for picture in pictures.values()]
    if max(sizes, default=0) > (Image.MAX_IMAGE_PIXELS or 0) or sum(sizes) > _MOST_PIXELS:
        raise ValueError(f"its textures have {sum(sizes):,} pixels")


def _piece(geometry: Any, transform: Any) -> Piece:
    mesh = geometry.copy(include_visual=False)
    mesh.apply_transform(transform)
    return Piece(mesh, geometry.visual)
