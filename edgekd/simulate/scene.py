"""A built room as tables: its surfaces, their materials, its lights, and the ray caster's own structures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import MissingRuntimeError
from edgekd.simulate.shapes import Floats

if TYPE_CHECKING:
    from embreex.rtcore_scene import EmbreeScene

__all__ = ["Light", "Scene", "ray_caster"]

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """A lamp (or, with `facing`, a window)."""

    position: Triple
    colour: Triple  # radiance times area: irradiance at one metre, straight on
    extent: Triple  # half size of the box that emits the light
    facing: Triple | None = None


@dataclass(frozen=True)
class Scene:
    """Everything in one room, ready to be rendered. One row per triangle [T], material [M] or object [B]."""

    size: Triple  # of the room, metres
    points: Floats  # [T, 3, 3] corners, metres
    normals: Floats  # [T, 9]: normal at the first corner, and its change along both edges
    uvs: Floats  # [T, 6]: texture coordinates in tiles, likewise
    density: Floats  # [T] texels per metre
    material: NDArray[np.int32]  # [T]
    objects: NDArray[np.uint16]  # [T] 0 for the room itself
    surface: NDArray[np.int32]  # [T] equal for triangles of one part that face the same way
    colours: Floats  # [M, 9]: c0, c1 - c0, c2 - c0
    tiles: NDArray[np.int32]  # [M] the material's first texel in the atlas
    gloss: Floats  # [M]
    emits: Floats  # [M]
    means: Floats  # [M, 3] mean reflectance
    lights: tuple[Light, ...]
    boxes: Floats  # [B, 6] low and high corners of the objects: where no camera can be
    visible: EmbreeScene
    casters: EmbreeScene  # all but the parts that emit light: a lampshade does not block its own light
    texels: NDArray[np.uint8] | None = None  # the atlas's, then the room's own; None where it has none


@lru_cache(maxsize=1)
def _device() -> Any:
    from embreex.rtcore import EmbreeDevice

    return EmbreeDevice()


def ray_caster(points: Floats) -> EmbreeScene:
    """Embree's structure for triangles [T, 3, 3]. Raises MissingRuntimeError without embreex."""
    try:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene
    except ImportError as error:
        raise MissingRuntimeError(
            f"Rooms cannot be simulated here: embreex is not installed ({error})", fix='pip install "edgekd[distill]"'
        ) from error
    scene = EmbreeScene(_device())
    corners = np.ascontiguousarray(points.reshape(-1, 3), np.float32)
    TriangleMesh(scene, corners, np.arange(len(corners), dtype=np.int32).reshape(-1, 3))
    return scene
