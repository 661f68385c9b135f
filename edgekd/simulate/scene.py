"""A built room: triangles of everything in it, their materials, its lights, and the ray caster's own structures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.errors import MissingRuntimeError
from edgekd.simulate.material import Material
from edgekd.simulate.patterns import SIDE, atlas
from edgekd.simulate.shapes import Floats, Part

if TYPE_CHECKING:
    from embreex.rtcore_scene import EmbreeScene

__all__ = ["Builder", "Light", "Scene"]


@dataclass(frozen=True)
class Light:
    """A lamp (or, with `facing`, a window): where it is, its radiance times its area, how large it is."""

    position: tuple[float, float, float]
    colour: tuple[float, float, float]
    extent: tuple[float, float, float]  # half size of the emitting box
    facing: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Scene:
    """Everything in one room, ready to be looked at. All tables are float32 with one row a triangle or a material."""

    size: tuple[float, float, float]
    normals: Floats  # [T, 9]: normal at the first corner, and its change along both edges
    uvs: Floats  # [T, 6]: texture coordinates in tiles, likewise
    density: Floats  # [T] texels a metre
    material: NDArray[np.int32]  # [T]
    objects: NDArray[np.uint16]  # [T]
    colours: Floats  # [M, 9]: c0, c1 - c0, c2 - c0
    tiles: NDArray[np.int32]  # [M] index of the material's first texel in the atlas
    gloss: Floats  # [M]
    emits: Floats  # [M]
    means: Floats  # [M, 3] mean reflectance
    lights: tuple[Light, ...]
    boxes: Floats  # [B, 6] low and high corners of the objects' boxes: where no camera can be
    visible: EmbreeScene
    casters: EmbreeScene  # all but what shines


@dataclass
class Builder:
    """Collects parts and makes a Scene."""

    rng: np.random.Generator
    parts: list[Part] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    boxes: list[Floats] = field(default_factory=list)
    lights: list[Light] = field(default_factory=list)
    objects: int = 0

    def add_room(self, part: Part) -> None:
        """A part of the room itself: id 0."""
        self.parts.append(part)
        self.owners.append(0)

    def add_object(self, parts: list[Part]) -> int:
        """An object of its own; returns its id."""
        self.objects += 1
        self.parts += parts
        self.owners += [self.objects] * len(parts)
        low, high = np.min([p.low for p in parts], axis=0), np.max([p.high for p in parts], axis=0)
        self.boxes.append(np.concatenate([low, high]))
        return self.objects

    def build(self, size: tuple[float, float, float]) -> Scene:
        """Merge the parts. Raises MissingRuntimeError without embreex."""
        order = sorted(range(len(self.parts)), key=lambda number: self.parts[number].material.emits > 0)
        parts = [self.parts[number] for number in order]
        counts = [len(part.points) for part in parts]
        numbers: dict[Material, int] = {}
        rows = np.array([numbers.setdefault(part.material, len(numbers)) for part in parts], np.int32)
        materials = list(numbers)
        points = np.concatenate([part.points for part in parts])
        normals = np.concatenate([part.normals for part in parts])
        uvs = np.concatenate([part.uvs for part in parts])
        material = np.repeat(rows, counts)
        scale = np.array([m.scale for m in materials], np.float32)[material]
        shifts = self.rng.random((len(parts), 2), dtype=np.float32)
        shifts[[part.material.stretch for part in parts]] = 0
        uvs = uvs / scale[:, None, None] + np.repeat(shifts, counts, axis=0)[:, None, :]
        casting = sum(count for part, count in zip(parts, counts, strict=True) if part.material.emits <= 0)
        edges = points[:, 1:] - points[:, :1]
        uv_edges = uvs[:, 1:] - uvs[:, :1]
        area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
        uv_area = np.abs(uv_edges[:, 0, 0] * uv_edges[:, 1, 1] - uv_edges[:, 0, 1] * uv_edges[:, 1, 0])
        colours, tiles, means = self._materials(materials)
        return Scene(
            size=size,
            normals=np.concatenate(
                [normals[:, 0], normals[:, 1] - normals[:, 0], normals[:, 2] - normals[:, 0]], axis=1
            ),
            uvs=np.concatenate([uvs[:, 0], uv_edges[:, 0], uv_edges[:, 1]], axis=1),
            density=np.sqrt(uv_area / np.maximum(area, 1e-9)).astype(np.float32) * SIDE,
            material=material,
            objects=np.repeat(np.array([self.owners[number] for number in order], np.uint16), counts),
            colours=colours,
            tiles=tiles,
            gloss=np.array([m.gloss for m in materials], np.float32),
            emits=np.array([m.emits for m in materials], np.float32),
            means=means,
            lights=tuple(self.lights),
            boxes=np.array(self.boxes, np.float32).reshape(-1, 6),
            visible=_embree(points),
            casters=_embree(points[:casting]),
        )

    def _materials(self, materials: list[Material]) -> tuple[Floats, NDArray[np.int32], Floats]:
        baked = atlas()
        colours = np.array([m.colours for m in materials], np.float32)
        colours[:, 1:] -= colours[:, :1]
        tiles, means = [], []
        for row, material in enumerate(materials):
            start, variants = baked.first[material.pattern]
            tile = start + int(self.rng.integers(variants))
            tiles.append(tile * baked.stride)
            a, b, shade = baked.means[tile]
            means.append((colours[row, 0] + a * colours[row, 1] + b * colours[row, 2]) * shade)
        return colours.reshape(-1, 9), np.array(tiles, np.int32), np.array(means, np.float32)


def _embree(points: Floats) -> EmbreeScene:
    try:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene
    except ImportError as error:
        raise MissingRuntimeError(
            f"Rooms cannot be simulated here: embreex is not installed ({error})", fix='pip install "edgekd[distill]"'
        ) from error
    scene = EmbreeScene()
    corners = np.ascontiguousarray(points.reshape(-1, 3), np.float32)
    TriangleMesh(scene, corners, np.arange(len(corners), dtype=np.int32).reshape(-1, 3))
    return scene
