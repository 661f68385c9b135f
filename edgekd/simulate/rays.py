"""What the camera sees: one ray per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.simulate.camera import Camera
from edgekd.simulate.scene import Scene
from edgekd.simulate.shapes import Floats

__all__ = ["Hits", "cast"]


@dataclass(frozen=True)
class Hits:
    """What the camera's rays met, one row per ray."""

    directions: Floats  # [N, 3], forward component 1
    depth: Floats  # [N] planar, metres
    triangle: NDArray[np.int32]  # [N]
    points: Floats  # [N, 3]
    normals: Floats  # [N, 3] facing the camera
    u: Floats  # [N] barycentric coordinates in the triangle
    v: Floats


def cast(scene: Scene, camera: Camera) -> Hits:
    """Send one ray through the middle of every pixel."""
    directions = camera.directions(*camera.pixels())
    origin = np.array(camera.position, np.float32)
    seen = scene.visible.run(np.broadcast_to(origin, directions.shape).copy(), directions, output=True)
    depth, triangle = seen["tfar"], seen["primID"]
    u, v = seen["u"], seen["v"]
    table = np.take(scene.normals, triangle, axis=0, mode="clip")
    normals = table[:, :3] + u[:, None] * table[:, 3:6] + v[:, None] * table[:, 6:]
    towards = np.einsum("ij,ij->i", normals, directions)
    scale = np.where(towards > 0, np.float32(-1), np.float32(1)) / np.sqrt(np.einsum("ij,ij->i", normals, normals))
    return Hits(directions, depth, triangle, origin + depth[:, None] * directions, normals * scale[:, None], u, v)
