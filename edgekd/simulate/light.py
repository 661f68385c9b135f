"""The light on the surface that each pixel shows: from shadowed lamps and, after one bounce, from all else."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgekd.simulate.rays import Hits
from edgekd.simulate.scene import Light, Scene
from edgekd.simulate.shapes import Floats

__all__ = ["direct", "indirect"]


def direct(
    scene: Scene, lamp: Light, points: Floats, normals: Floats, surface: NDArray[np.int32]
) -> tuple[Floats, Floats]:
    """Shadowed irradiance [N] of a lamp of colour 1, and the directions to it [N, 3].

    Shadows are soft: sixteen points of the lamp are spread over 4x4 pixels and averaged over those of one surface.
    """
    height, width = surface.shape
    spread = _spread(height, width)
    towards = np.array(lamp.position, np.float32) - points
    square = np.einsum("ij,ij->i", towards, towards)
    cosine = np.einsum("ij,ij->i", towards, normals) / np.sqrt(square)
    lit = np.flatnonzero(cosine > 0)
    blocked = np.zeros(len(points), np.float32)
    rays = np.take(towards, lit, axis=0) + np.take(spread, lit, axis=0) * np.array(lamp.extent, np.float32)
    hit = scene.casters.run(np.take(points, lit, axis=0), rays, dists=0.98, query="OCCLUDED")
    blocked[lit] = hit != -1
    open_share = 1 - _smooth(blocked.reshape(height, width), surface).ravel()
    strength = np.maximum(cosine, 0) / (square + np.float32(0.4)) * open_share
    if lamp.facing is not None:
        leaving = -np.einsum("ij,j->i", towards, np.array(lamp.facing, np.float32)) / np.sqrt(square)
        strength *= np.maximum(leaving, 0)
    return strength, towards / np.sqrt(square)[:, None]


@lru_cache(maxsize=4)
def _spread(height: int, width: int) -> Floats:
    """Points in the cube of half side 1, [H * W, 3], repeating every 4x4 pixels (a rank-1 lattice)."""
    number = (np.arange(height)[:, None] % 4 * 4 + np.arange(width)[None, :] % 4).ravel()
    order = np.array([0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5], np.float32)[number]
    lattice = np.stack([(order + 0.5) / 16, (order * 0.618 + 0.3) % 1, (order * 0.414 + 0.7) % 1], axis=1)
    return (lattice * 2 - 1).astype(np.float32)


def _smooth(field: Floats, surface: NDArray[np.int32]) -> Floats:
    """Mean over 4 pixels along each axis, of those that show the same surface."""
    for axis in (0, 1):
        total, count = field.copy(), np.ones_like(field)
        for shift in (-1, 1, 2):
            moved_field, moved_key = np.roll(field, shift, axis), np.roll(surface, shift, axis)
            same = moved_key == surface
            total += np.where(same, moved_field, 0)
            count += same
        field = total / count
    return field


def indirect(scene: Scene, hits: Hits, points: Floats, surface: NDArray[np.int32]) -> Floats:
    """Light [N, 3] from other surfaces: one ray per 2x2 block into the hemisphere, in the mean colour of what it meets.

    Near surfaces give less, which darkens corners and the ground under furniture.
    """
    height, width = surface.shape
    grid = np.arange(height * width).reshape(height, width)[::2, ::2]
    chosen = grid.ravel()
    normals, start = hits.normals[chosen], points[chosen]
    small = grid.shape
    directions = normals + np.float32(0.98) * _sphere(*small)
    seen = scene.visible.run(start, directions, output=True)
    triangle, distance = seen["primID"], seen["tfar"]
    material = scene.material[np.clip(triangle, 0, None)]
    colour = scene.means[material] * (1 + scene.emits[material, None])
    reach = np.minimum(distance / np.float32(1.2), 1)
    colour *= (reach * np.float32(0.8) + np.float32(0.2))[:, None]
    colour = (colour + np.float32(0.6) * reach[:, None]) * np.float32(0.5)
    key = surface.ravel()[chosen].reshape(small)
    smooth = np.stack([_smooth(np.ascontiguousarray(colour[:, c]).reshape(small), key) for c in range(3)], axis=-1)
    return _enlarged(smooth, key, surface).reshape(-1, 3)


def _enlarged(field: Floats, key: NDArray[np.int32], wanted: NDArray[np.int32]) -> Floats:
    """A field [h, w, 3] at twice its size; each pixel takes a sample of its own surface if one is beside it."""
    height, width = wanted.shape
    full = np.repeat(np.repeat(field, 2, axis=0), 2, axis=1)[:height, :width]
    nearest = np.repeat(np.repeat(key, 2, axis=0), 2, axis=1)[:height, :width]
    rows, columns = np.nonzero(nearest != wanted)
    surface = wanted[rows, columns]
    row, column = rows // 2, columns // 2
    towards_row, towards_column = rows % 2 * 2 - 1, columns % 2 * 2 - 1
    for down, right in ((-1, -1), (-1, 1), (1, -1), (-1, 0), (0, -1), (1, 1), (1, 0), (0, 1)):  # the last match wins
        beside = (
            np.clip(row + down * towards_row, 0, key.shape[0] - 1),
            np.clip(column + right * towards_column, 0, key.shape[1] - 1),
        )
        same = key[beside] == surface
        full[rows[same], columns[same]] = field[beside[0][same], beside[1][same]]
    return full


@lru_cache(maxsize=4)
def _sphere(height: int, width: int) -> Floats:
    """Unit vectors [H * W, 3], repeating every 4x4 pixels."""
    spread = (_spread(height, width) + 1) / 2
    z, angle = 2 * spread[:, 0] - 1, 2 * np.pi * spread[:, 1]
    ring = np.sqrt(np.maximum(1 - z * z, 0))
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1).astype(np.float32)
