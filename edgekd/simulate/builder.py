"""Collects the parts of a room with their poses and merges them into a Scene."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgekd.simulate.atlas import SIDE, atlas
from edgekd.simulate.material import Material
from edgekd.simulate.pose import Pose, turned_bounds
from edgekd.simulate.scene import Light, Scene, Triple, ray_caster
from edgekd.simulate.shapes import Floats, Part

__all__ = ["Builder", "part_bounds"]


def part_bounds(parts: list[Part]) -> Floats:
    """The box [6], low corner then high, around parts."""
    points = np.concatenate([part.points.reshape(-1, 3) for part in parts])
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


@dataclass
class Builder:
    """A room under construction."""

    rng: np.random.Generator
    lights: list[Light] = field(default_factory=list)
    boxes: list[Floats] = field(default_factory=list)  # of each object
    shades: list[tuple[Part, Pose]] = field(default_factory=list)  # parts of objects that emit light
    _items: list[tuple[Part, Pose, int]] = field(default_factory=list)

    def add_room(self, part: Part, pose: Pose) -> None:
        """A part of the room itself: id 0."""
        self._items.append((part, pose, 0))

    def add_object(self, parts: list[Part], pose: Pose) -> Floats:
        """An object with an id of its own; returns its box [6] in the room."""
        box = turned_bounds(part_bounds(parts), pose)
        self.boxes.append(box)
        self._items += [(part, pose, len(self.boxes)) for part in parts]
        self.shades += [(part, pose) for part in parts if part.material.emits > 0]
        return box

    def build(self, size: Triple) -> Scene:
        """Merge everything; parts that emit light come last."""
        items = sorted(self._items, key=lambda item: item[0].material.emits > 0)
        parts = [part for part, _, _ in items]
        counts = [len(part.points) for part in parts]
        casting = sum(count for part, count in zip(parts, counts, strict=True) if part.material.emits <= 0)
        numbers: dict[Material, int] = {}
        rows = [numbers.setdefault(part.material, len(numbers)) for part in parts]
        material = np.repeat(np.array(rows, np.int32), counts)
        points, normals = self._in_room(items, counts)
        uvs = self._tile_coordinates(parts, counts)
        edges, uv_edges = points[:, 1:] - points[:, :1], uvs[:, 1:] - uvs[:, :1]
        area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
        uv_area = np.abs(uv_edges[:, 0, 0] * uv_edges[:, 1, 1] - uv_edges[:, 0, 1] * uv_edges[:, 1, 0])
        colours, tiles, means = self._materials(list(numbers))
        axis = np.abs(normals[:, 0]).argmax(axis=1)
        facing = (2 * axis + (np.take_along_axis(normals[:, 0], axis[:, None], 1)[:, 0] > 0)).astype(np.int32)
        normals[:, 1:] -= normals[:, :1].copy()
        uvs[:, 1:] -= uvs[:, :1].copy()
        return Scene(
            size=size,
            points=points,
            normals=normals.reshape(-1, 9),
            uvs=uvs.reshape(-1, 6),
            density=np.sqrt(uv_area / np.maximum(area, 1e-9)).astype(np.float32) * SIDE,
            material=material,
            objects=np.repeat(np.array([owner for _, _, owner in items], np.uint16), counts),
            surface=np.repeat(np.arange(len(parts), dtype=np.int32), counts) * 6 + facing,
            colours=colours,
            tiles=tiles,
            gloss=np.array([m.gloss for m in numbers], np.float32),
            emits=np.array([m.emits for m in numbers], np.float32),
            means=means,
            lights=tuple(self.lights),
            boxes=np.array(self.boxes, np.float32).reshape(-1, 6),
            visible=ray_caster(points),
            casters=ray_caster(points[:casting]),
            texels=_own_texels(list(numbers)),
        )

    def _in_room(self, items: list[tuple[Part, Pose, int]], counts: list[int]) -> tuple[Floats, Floats]:
        """Corners and normals [T, 3, 3] of all parts in the room's coordinates."""
        poses = np.array([[np.cos(p.angle), np.sin(p.angle), p.x, p.y, p.z] for _, p, _ in items], np.float32)
        cos, sin, x, y, z = np.repeat(poses, counts, axis=0).T[..., None]

        def turn(field: Floats) -> Floats:
            return np.stack(
                [cos * field[..., 0] - sin * field[..., 1], sin * field[..., 0] + cos * field[..., 1], field[..., 2]],
                axis=-1,
            )

        points = turn(np.concatenate([part.points for part, _, _ in items]))
        points += np.stack([x, y, z], axis=-1)
        return points, turn(np.concatenate([part.normals for part, _, _ in items]))

    def _tile_coordinates(self, parts: list[Part], counts: list[int]) -> Floats:
        """Texture coordinates [T, 3, 2] in tiles; each part is shifted at random, so that no two look alike."""
        scale = np.array([part.material.scale for part in parts], np.float32)
        shifts = self.rng.random((len(parts), 2), dtype=np.float32)
        shifts[[part.material.stretch for part in parts]] = 0
        uvs = np.concatenate([part.uvs for part in parts])
        return uvs / np.repeat(scale, counts)[:, None, None] + np.repeat(shifts, counts, axis=0)[:, None, :]

    def _materials(self, materials: list[Material]) -> tuple[Floats, NDArray[np.int32], Floats]:
        """Colour table [M, 9], first texel [M] and mean reflectance [M, 3]; draws each material's variant."""
        baked = atlas()
        colours = np.array([m.colours for m in materials], np.float32)
        colours[:, 1:] -= colours[:, :1]
        tiles = np.empty(len(materials), np.int32)
        own = [material.tile for material in materials if material.tile is not None]
        means = np.concatenate([baked.means, *(tile.mean[None] for tile in own)])
        behind = len(baked.means)
        for row, material in enumerate(materials):
            if material.tile is not None:
                tiles[row], behind = behind, behind + 1
                continue
            start, variants = baked.first[material.pattern]
            tiles[row] = start + int(self.rng.integers(variants))
        weights = means[tiles]
        mixed = colours[:, 0] + weights[:, :1] * colours[:, 1] + weights[:, 1:2] * colours[:, 2]
        return colours.reshape(-1, 9), tiles * np.int32(baked.stride), (mixed * weights[:, 2:]).astype(np.float32)


def _own_texels(materials: list[Material]) -> NDArray[np.uint8] | None:
    """All texels of the atlas, then those of the materials with a tile, in order; None if there are none of these."""
    own = [material.tile.texels for material in materials if material.tile is not None]
    return np.concatenate([atlas().texels, *own]) if own else None
