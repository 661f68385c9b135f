"""The radiance of each pixel: reflectance times light, highlights, and the light that surfaces emit."""

from __future__ import annotations

import numpy as np

from edgekd.simulate.camera import Camera
from edgekd.simulate.light import direct, indirect
from edgekd.simulate.rays import Hits
from edgekd.simulate.scene import Scene
from edgekd.simulate.shapes import Floats
from edgekd.simulate.textures import reflectance

__all__ = ["shade"]

_LIFT = 2e-3  # metres that secondary rays start above their surface


def shade(scene: Scene, camera: Camera, hits: Hits, *, ambient: float) -> Floats:
    """Linear radiance [H, W, 3] of the picture."""
    shape = camera.height, camera.width
    material = scene.material[hits.triangle]
    albedo = reflectance(scene, camera, hits)
    lifted = hits.points + hits.normals * np.float32(_LIFT)
    surface = scene.surface[hits.triangle].reshape(shape)
    light = np.zeros_like(albedo)
    shine = np.zeros(len(material), np.float32)
    gloss = scene.gloss[material]
    glossy = gloss > 0
    length = np.sqrt(np.einsum("ij,ij->i", hits.directions, hits.directions))
    mirrored = hits.directions[glossy] / length[glossy, None]
    along = np.einsum("ij,ij->i", mirrored, hits.normals[glossy])
    mirrored -= 2 * along[:, None] * hits.normals[glossy]
    for lamp in scene.lights:
        strength, towards = direct(scene, lamp, lifted, hits.normals, surface)
        light += strength[:, None] * np.array(lamp.colour, np.float32)
        lobe = np.clip(np.einsum("ij,ij->i", mirrored, towards[glossy]), 0, 1) ** 24
        shine[glossy] += lobe * strength[glossy] * np.float32(sum(lamp.colour) / 3)
    light += indirect(scene, hits, lifted, surface) * np.float32(ambient)
    radiance = albedo * light
    radiance += (shine * gloss * np.float32(1.5))[:, None]
    emits = scene.emits[material]
    radiance += albedo * emits[:, None]
    return radiance.reshape(*shape, 3)
