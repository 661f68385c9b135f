"""The parts furniture is made of, as loose triangles: boxes, cylinders, cushions, drapes.

Axes: x to the right, y to the front, z up; metres. A piece of furniture stands on z = 0 around x = y = 0 with its back
towards negative y.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from edgekd.simulate.material import Material

__all__ = ["Part", "box", "cushion", "cylinder", "drape", "moved", "panel", "tilted", "turned"]

Floats = NDArray[np.floating[Any]]
"""float32 wherever a scene is traced or shaded; parts may be made in double precision."""


@dataclass(frozen=True)
class Part:
    """Triangles of one material: corners and their normals [T, 3, 3], texture coordinates in metres [T, 3, 2].

    `holds` names what may stand on its upper face (a key of furniture.CLUTTER), `room` how much height there is above.
    """

    points: Floats
    normals: Floats
    uvs: Floats
    material: Material
    holds: str | None = None
    room: float = 0.5

    @property
    def low(self) -> Floats:
        corner: Floats = self.points.min(axis=(0, 1))
        return corner

    @property
    def high(self) -> Floats:
        corner: Floats = self.points.max(axis=(0, 1))
        return corner


def moved(part: Part, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Part:
    """The part shifted."""
    return replace(part, points=part.points + np.array([x, y, z], np.float32))


def turned(part: Part, angle: float) -> Part:
    """The part turned by `angle` (radians, anticlockwise seen from above) about the z axis."""
    cos, sin = np.cos(angle), np.sin(angle)
    return _rotated(part, np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], np.float32))


def tilted(part: Part, angle: float, *, y: float = 0.0, z: float = 0.0) -> Part:
    """The part turned by `angle` about the line along x through (0, y, z)."""
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], np.float32)
    return moved(_rotated(moved(part, y=-y, z=-z), turn), y=y, z=z)


def _rotated(part: Part, matrix: Floats) -> Part:
    return replace(part, points=part.points @ matrix.T, normals=part.normals @ matrix.T)


# The six faces of a unit box around the origin: normal axis, sign; then the axes of the face.
_FACES = [(axis, sign, (axis + 1) % 3, (axis + 2) % 3) for axis in range(3) for sign in (-1, 1)]
_QUAD = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]], np.float32)


@lru_cache(maxsize=1)
def _unit_box() -> tuple[Floats, Floats]:
    points, normals = np.zeros((12, 3, 3), np.float32), np.zeros((12, 3, 3), np.float32)
    for face, (axis, sign, first, second) in enumerate(_FACES):
        corners = np.zeros((6, 3), np.float32)
        corners[:, axis], corners[:, first], corners[:, second] = sign * 0.5, _QUAD[:, 0], _QUAD[:, 1]
        points[2 * face : 2 * face + 2] = corners.reshape(2, 3, 3)
        normals[2 * face : 2 * face + 2, :, axis] = sign
    return points, normals


def box(
    width: float,
    depth: float,
    height: float,
    material: Material,
    *,
    x: float = 0.0,
    y: float = 0.0,
    z: float = 0.0,
    holds: str | None = None,
    room: float = 0.5,
) -> Part:
    """A box centred on (x, y) whose lower face is at height z. Grain runs along the longer side of each face."""
    unit, normals = _unit_box()
    size = np.array([width, depth, height], np.float32)
    points = unit * size
    uvs = np.empty((12, 3, 2), np.float32)
    for face, (_, _, first, second) in enumerate(_FACES):
        if size[second] > size[first]:
            first, second = second, first
        rows = slice(2 * face, 2 * face + 2)
        uvs[rows, :, 0], uvs[rows, :, 1] = points[rows, :, first], points[rows, :, second]
        if material.stretch:  # upright: u across, v down
            across, down = (1, 2) if face < 2 else (0, 2) if face < 4 else (0, 1)
            uvs[rows, :, 0] = (unit[rows, :, across] + 0.5) * material.scale
            uvs[rows, :, 1] = (0.5 - unit[rows, :, down]) * material.scale
    points = points + np.array([x, y, z + height / 2], np.float32)
    return Part(points, normals, uvs, material, holds, room)


def panel(width: float, height: float, material: Material, *, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Part:
    """An upright rectangle facing the front (positive y), its lower edge at height z."""
    corners = np.zeros((6, 3), np.float32)
    corners[:, 0], corners[:, 2] = _QUAD[:, 0] * width + x, (_QUAD[:, 1] + 0.5) * height + z
    corners[:, 1] = y
    normals = np.zeros((2, 3, 3), np.float32)
    normals[..., 1] = 1
    scale = np.array([material.scale] * 2 if material.stretch else [width, height], np.float32)
    uvs = (np.stack([0.5 - _QUAD[:, 0], 0.5 - _QUAD[:, 1]], axis=1) * scale).astype(np.float32)
    return Part(corners.reshape(2, 3, 3), normals, uvs.reshape(2, 3, 2), material)


def cylinder(
    radius: float,
    height: float,
    material: Material,
    *,
    x: float = 0.0,
    y: float = 0.0,
    z: float = 0.0,
    top: float | None = None,
    segments: int = 10,
    holds: str | None = None,
) -> Part:
    """An upright cylinder (or cone: `top` is the upper radius), its lower face at height z."""
    top = radius if top is None else top
    angle = np.linspace(0, 2 * np.pi, segments + 1, dtype=np.float32)
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=1)
    up = np.array([0, 0, 1], np.float32)
    lower, upper = ring * radius, ring * top + up * height
    slope = (radius - top) / max(height, 1e-6)
    side = (ring + up * slope) / np.sqrt(1 + slope * slope)
    around = angle * max(radius, top)
    low_uv = np.stack([around, np.zeros_like(around)], axis=1)
    high_uv = np.stack([around, np.full_like(around, height)], axis=1)
    a, b = slice(0, -1), slice(1, None)
    points = [np.stack([lower[a], lower[b], upper[b]], 1), np.stack([lower[a], upper[b], upper[a]], 1)]
    normals = [np.stack([side[a], side[b], side[b]], 1), np.stack([side[a], side[b], side[a]], 1)]
    uvs = [np.stack([low_uv[a], low_uv[b], high_uv[b]], 1), np.stack([low_uv[a], high_uv[b], high_uv[a]], 1)]
    for rim, centre, facing in ((lower, 0 * up, -up), (upper, up * height, up)):
        middle = np.broadcast_to(centre, rim[a].shape)
        points.append(np.stack([rim[a], rim[b], middle], 1))
        normals.append(np.broadcast_to(facing, points[-1].shape))
        uvs.append(points[-1][..., :2])
    shift = np.array([x, y, z], np.float32)
    return Part(
        (np.concatenate(points) + shift).astype(np.float32),
        np.concatenate(normals).astype(np.float32),
        np.concatenate(uvs).astype(np.float32),
        material,
        holds,
    )


def cushion(
    width: float,
    depth: float,
    height: float,
    material: Material,
    *,
    x: float = 0.0,
    y: float = 0.0,
    z: float = 0.0,
    roundness: float,
) -> Part:
    """A soft block (superellipsoid): roundness 1 is an ellipsoid, near 0 a box. Its lowest point is at height z."""
    across, along = _superellipsoid(roundness)
    size = np.array([width, depth, height], np.float32) / 2
    points = across * size
    normals = along / size
    normals = normals / np.linalg.norm(normals, axis=-1, keepdims=True)
    uvs = points[..., :2] + points[..., 2:] * np.float32(0.7)
    return Part(points + np.array([x, y, z + height / 2], np.float32), normals, uvs, material)


@lru_cache(maxsize=64)
def _superellipsoid(roundness: float) -> tuple[Floats, Floats]:
    """Points and (unnormalised) normals [T, 3, 3] of a superellipsoid of half axes 1 (Barr 1981)."""

    def power(value: Floats, exponent: float) -> Floats:
        return np.sign(value) * np.abs(value) ** exponent

    longitude = np.linspace(-np.pi, np.pi, 17)
    latitude = np.linspace(-np.pi / 2, np.pi / 2, 9)
    lat, lon = np.meshgrid(latitude, longitude, indexing="ij")
    cos_lat, sin_lat, cos_lon, sin_lon = np.cos(lat), np.sin(lat), np.cos(lon), np.sin(lon)

    def surface(e: float) -> Floats:
        return np.stack(
            [power(cos_lat, e) * power(cos_lon, e), power(cos_lat, e) * power(sin_lon, e), power(sin_lat, e)], -1
        )

    grid, facing = surface(roundness), surface(2 - roundness)

    def split(field: Floats) -> Floats:
        a, b, c, d = field[:-1, :-1], field[:-1, 1:], field[1:, 1:], field[1:, :-1]
        return np.concatenate([np.stack([a, b, c], 2).reshape(-1, 3, 3), np.stack([a, c, d], 2).reshape(-1, 3, 3)])

    return split(grid).astype(np.float32), split(facing).astype(np.float32)


def drape(width: float, height: float, material: Material, folds: int) -> Part:
    """A hanging cloth in folds, facing the front."""
    steps = 4 * folds
    phase = np.linspace(0, 2 * np.pi * folds, steps + 1)
    across = np.linspace(-width / 2, width / 2, steps + 1)
    wave, lean = 0.04 * np.sin(phase), -0.04 * np.cos(phase) * 2 * np.pi * folds / width
    facing = np.stack([lean, np.ones_like(lean), np.zeros_like(lean)], 1)
    facing /= np.linalg.norm(facing, axis=1, keepdims=True)
    low = np.stack([across, wave, np.zeros_like(wave)], 1)
    high = low + np.array([0, 0, height])
    length = across * 1.6
    low_uv, high_uv = np.stack([length, 0 * length], 1), np.stack([length, 0 * length + height], 1)
    a, b = slice(0, -1), slice(1, None)

    def pair(lo: Floats, hi: Floats) -> Floats:
        return np.concatenate([np.stack([lo[a], lo[b], hi[b]], 1), np.stack([lo[a], hi[b], hi[a]], 1)])

    return Part(
        pair(low, high).astype(np.float32),
        pair(facing, facing).astype(np.float32),
        pair(low_uv, high_uv).astype(np.float32),
        material,
    )
