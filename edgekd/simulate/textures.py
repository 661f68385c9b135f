"""The reflectance of the surface that each pixel shows."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from edgekd.simulate.atlas import LEVELS, SIDE, atlas
from edgekd.simulate.camera import Camera
from edgekd.simulate.rays import Hits
from edgekd.simulate.scene import Scene
from edgekd.simulate.shapes import Floats

__all__ = ["reflectance"]


def reflectance(scene: Scene, camera: Camera, hits: Hits) -> Floats:
    """Reflectance [N, 3]: one texel of the mip level that fits the pixel's footprint, dithered between levels."""
    baked = atlas()
    material = scene.material[hits.triangle]
    table = np.take(scene.uvs, hits.triangle, axis=0, mode="clip")
    u = table[:, 0] + hits.u * table[:, 2] + hits.v * table[:, 4]
    v = table[:, 1] + hits.u * table[:, 3] + hits.v * table[:, 5]
    slant = np.abs(np.einsum("ij,ij->i", hits.normals, hits.directions)) + np.float32(0.05)
    footprint = scene.density[hits.triangle] * hits.depth / (np.float32(camera.focal) * np.sqrt(np.minimum(slant, 1)))
    level = np.floor(np.log2(np.maximum(footprint, 1e-3)) + _dither(camera.height, camera.width)).astype(np.int32)
    np.clip(level, 0, LEVELS - 1, out=level)
    column = (np.floor(u * SIDE).astype(np.int32) & (SIDE - 1)) >> level
    row = (np.floor(v * SIDE).astype(np.int32) & (SIDE - 1)) >> level
    place = scene.tiles[material] + baked.starts[level] + row * (SIDE >> level) + column
    weights = np.take(baked.texels if scene.texels is None else scene.texels, place, axis=0, mode="clip").astype(
        np.float32
    )
    weights *= np.array([1 / 255, 1 / 255, 1 / 127.5], np.float32)
    colours = np.take(scene.colours, material, axis=0, mode="clip")
    mixed = colours[:, :3] + weights[:, :1] * colours[:, 3:6] + weights[:, 1:2] * colours[:, 6:]
    mixed *= weights[:, 2:]
    bounded: Floats = np.maximum(mixed, np.float32(0.004))  # nothing is fully black
    return bounded


@lru_cache(maxsize=4)
def _dither(height: int, width: int) -> Floats:
    """An ordered 4x4 pattern in 0..1, flattened."""
    base = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) / 16 + 1 / 32
    return np.tile(base, ((height + 3) // 4, (width + 3) // 4))[:height, :width].ravel().astype(np.float32)
