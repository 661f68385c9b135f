"""The light that reaches each pixel: ray casting, textures, shadowed lamps, one coarse bounce of ambient light."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgekd.simulate.camera import Camera
from edgekd.simulate.patterns import LEVELS, SIDE, atlas
from edgekd.simulate.scene import Light, Scene
from edgekd.simulate.shapes import Floats

__all__ = ["Hits", "cast", "shade"]

_LIFT = 2e-3  # metres that secondary rays start above their surface


@dataclass(frozen=True)
class Hits:
    """What the camera's rays met, one row a ray."""

    directions: Floats  # [N, 3], forward component 1
    depth: Floats  # [N] planar, metres
    triangle: NDArray[np.int32]  # [N]
    points: Floats  # [N, 3]
    normals: Floats  # [N, 3] facing the camera
    u: Floats
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


def shade(scene: Scene, camera: Camera, hits: Hits, *, ambient: float) -> Floats:
    """Linear radiance [H, W, 3] of the picture."""
    shape = camera.height, camera.width
    material = scene.material[hits.triangle]
    albedo = _texture(scene, camera, hits, material)
    lifted = hits.points + hits.normals * np.float32(_LIFT)
    key = scene.surface[hits.triangle].reshape(shape)
    light = np.zeros_like(albedo)
    shine = np.zeros(len(material), np.float32)
    gloss = scene.gloss[material]
    glossy = gloss > 0
    length = np.sqrt(np.einsum("ij,ij->i", hits.directions, hits.directions))
    mirrored = hits.directions[glossy] / length[glossy, None]
    along = np.einsum("ij,ij->i", mirrored, hits.normals[glossy])
    mirrored -= 2 * along[:, None] * hits.normals[glossy]
    for lamp in scene.lights:
        strength, towards = _direct(scene, lamp, lifted, hits.normals, key)
        light += strength[:, None] * np.array(lamp.colour, np.float32)
        lobe = np.clip(np.einsum("ij,ij->i", mirrored, towards[glossy]), 0, 1) ** 24
        shine[glossy] += lobe * strength[glossy] * np.float32(sum(lamp.colour) / 3)
    light += _indirect(scene, camera, hits, lifted, ambient)
    radiance = albedo * light
    radiance += (shine * gloss * np.float32(1.5))[:, None]
    emits = scene.emits[material]
    radiance += albedo * emits[:, None]
    return radiance.reshape(*shape, 3)


def _texture(scene: Scene, camera: Camera, hits: Hits, material: NDArray[np.int32]) -> Floats:
    """Reflectance [N, 3]: one texel of the mip level that fits the pixel's footprint, dithered between levels."""
    baked = atlas()
    triangle = hits.triangle
    table = np.take(scene.uvs, triangle, axis=0, mode="clip")
    u = table[:, 0] + hits.u * table[:, 2] + hits.v * table[:, 4]
    v = table[:, 1] + hits.u * table[:, 3] + hits.v * table[:, 5]
    slant = np.abs(np.einsum("ij,ij->i", hits.normals, hits.directions)) + np.float32(0.05)
    footprint = scene.density[triangle] * hits.depth / (np.float32(camera.focal) * np.sqrt(np.minimum(slant, 1)))
    level = np.floor(np.log2(np.maximum(footprint, 1e-3)) + _dither(camera.height, camera.width)).astype(np.int32)
    np.clip(level, 0, LEVELS - 1, out=level)
    column = (np.floor(u * SIDE).astype(np.int32) & (SIDE - 1)) >> level
    row = (np.floor(v * SIDE).astype(np.int32) & (SIDE - 1)) >> level
    place = scene.tiles[material] + baked.starts[level] + row * (SIDE >> level) + column
    weights = np.take(baked.texels, place, axis=0, mode="clip").astype(np.float32)
    weights *= np.array([1 / 255, 1 / 255, 1 / 127.5], np.float32)
    colours = np.take(scene.colours, material, axis=0, mode="clip")
    mixed = colours[:, :3] + weights[:, :1] * colours[:, 3:6] + weights[:, 1:2] * colours[:, 6:]
    mixed *= weights[:, 2:]
    return np.maximum(mixed, np.float32(0.004))


@lru_cache(maxsize=4)
def _dither(height: int, width: int) -> Floats:
    """An ordered 4x4 pattern in 0..1, flattened."""
    base = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) / 16 + 1 / 32
    return np.tile(base, ((height + 3) // 4, (width + 3) // 4))[:height, :width].ravel().astype(np.float32)


def _direct(
    scene: Scene, lamp: Light, points: Floats, normals: Floats, key: NDArray[np.int32]
) -> tuple[Floats, Floats]:
    """Shadowed irradiance [N] of a lamp of radiance 1, and the directions to it. Soft shadows: sixteen points of the
    lamp are spread over each 4x4 pixels and averaged over pixels of the same surface."""
    height, width = key.shape
    spread = _spread(height, width)
    towards = np.array(lamp.position, np.float32) - points
    square = np.einsum("ij,ij->i", towards, towards)
    cosine = np.einsum("ij,ij->i", towards, normals) / np.sqrt(square)
    lit = np.flatnonzero(cosine > 0)
    blocked = np.zeros(len(points), np.float32)
    rays = np.take(towards, lit, axis=0) + np.take(spread, lit, axis=0) * np.array(lamp.extent, np.float32)
    hit = scene.casters.run(np.take(points, lit, axis=0), rays, dists=0.98, query="OCCLUDED")
    blocked[lit] = hit != -1
    open_share = 1 - _smooth(blocked.reshape(height, width), key).ravel()
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


def _smooth(field: Floats, key: NDArray[np.int32]) -> Floats:
    """Mean over 4 pixels along each axis, of those that show the same surface."""
    for axis in (0, 1):
        total, count = field.copy(), np.ones_like(field)
        for shift in (-1, 1, 2):
            moved_field, moved_key = np.roll(field, shift, axis), np.roll(key, shift, axis)
            same = moved_key == key
            total += np.where(same, moved_field, 0)
            count += same
        field = total / count
    return field


def _indirect(scene: Scene, camera: Camera, hits: Hits, points: Floats, ambient: float) -> Floats:
    """Light [N, 3] that comes from other surfaces: one ray a 2x2 block into the hemisphere, what it meets sends its mean
    colour, dimmed near the surface (which darkens corners and the ground under furniture)."""
    height, width = camera.height, camera.width
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
    key = scene.surface[hits.triangle[chosen]].reshape(small)
    smooth = np.stack([_smooth(np.ascontiguousarray(colour[:, c]).reshape(small), key) for c in range(3)], axis=-1)
    full = _enlarged(smooth, key, scene.surface[hits.triangle].reshape(height, width))
    return full.reshape(-1, 3) * np.float32(ambient)


def _enlarged(field: Floats, key: NDArray[np.int32], wanted: NDArray[np.int32]) -> Floats:
    """Twice the size of a field [h, w, 3]: each pixel takes the nearest sample of its own surface, if one is beside it."""
    height, width = wanted.shape
    full = np.repeat(np.repeat(field, 2, axis=0), 2, axis=1)[:height, :width]
    nearest = np.repeat(np.repeat(key, 2, axis=0), 2, axis=1)[:height, :width]
    rows, columns = np.nonzero(nearest != wanted)
    surface = wanted[rows, columns]
    row, column = rows // 2, columns // 2
    towards_row, towards_column = rows % 2 * 2 - 1, columns % 2 * 2 - 1
    for down, right in ((-1, -1), (-1, 1), (1, -1), (-1, 0), (0, -1), (1, 1), (1, 0), (0, 1)):  # the last match stays
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
