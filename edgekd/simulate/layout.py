"""Puts a room together: floor, walls, doors and windows, then the furniture, then the lamps."""

from __future__ import annotations

import numpy as np

from edgekd.simulate.builder import Builder, part_bounds
from edgekd.simulate.furniture import FURNITURE, Piece
from edgekd.simulate.kinds import KINDS, RoomKind
from edgekd.simulate.looks import Look
from edgekd.simulate.meshes.folder import MeshFolder
from edgekd.simulate.palette import Palette
from edgekd.simulate.placing import Placer, wall_pose
from edgekd.simulate.pose import Pose, turned_bounds
from edgekd.simulate.scene import Light, Scene, Triple
from edgekd.simulate.shapes import Part, box, panel

__all__ = ["build_room"]

_DOOR = 2.05  # metres high
_OVERLAP = 0.2  # metres that floor and walls reach beyond each other, so that no ray slips through a corner
_MESHES = (3, 7)  # meshes placed in one room, the upper bound excluded
_SHADOWED = 2  # lights that cast shadows: each costs a ray per pixel


def build_room(look: Look, rng: np.random.Generator, meshes: MeshFolder | None = None) -> Scene:
    """A furnished room of a kind drawn from KINDS; with `meshes`, some of them are placed before the furniture."""
    names = list(KINDS)
    shares = np.array([KINDS[name].share for name in names])
    kind = KINDS[names[int(rng.choice(len(names), p=shares / shares.sum()))]]
    size = float(rng.uniform(*kind.width)), float(rng.uniform(*kind.depth)), float(rng.uniform(*kind.height))
    return _Layout(kind, size, look, rng).make(meshes)


class _Layout:
    def __init__(self, kind: RoomKind, size: Triple, look: Look, rng: np.random.Generator) -> None:
        self.kind, self.size, self.look, self.rng = kind, size, look, rng
        self.palette = Palette(look, rng)
        self.builder = Builder(rng)
        self.placer = Placer(size, look, self.palette, self.builder)
        self.windows: list[Light] = []

    def make(self, meshes: MeshFolder | None) -> Scene:
        self._shell()
        walls = [int(wall) for wall in self.rng.permutation(4)]
        self._door(walls[0])
        least, most = self.kind.windows
        for wall in walls[1 : 1 + int(self.rng.integers(least, most + 1))]:
            self._window(wall)
        if meshes is not None:
            self._place_meshes(meshes)
        for name, (least, most) in self.kind.pieces:
            for _ in range(int(self.rng.integers(least, most + 1))):
                self.placer.place(name)
        self._lamps()
        return self.builder.build(self.size)

    def _place_meshes(self, meshes: MeshFolder) -> None:
        for _ in range(int(self.rng.integers(*_MESHES))):
            mesh = meshes.draw(self.rng)
            width, depth, height = mesh.extent
            if height < self.size[2]:  # tall or wide ones stand with their backs to a wall, like cupboards and sofas
                self.placer.place_piece(Piece(mesh.make, "wall" if height > 1.2 or width > 1.4 * depth else "free"))

    def _shell(self) -> None:
        width, depth, height = self.size
        palette, rng = self.palette, self.rng
        wall, skirting, tall = palette.wall(self.kind.walls), palette.white(), rng.uniform(0.05, 0.12)
        accent = palette.wall(self.kind.walls) if rng.random() < 0.35 else wall
        middle = Pose(width / 2, depth / 2)
        self.builder.add_room(
            box(width + _OVERLAP, depth + _OVERLAP, 0.1, palette.floor(self.kind.floors), z=-0.1), middle
        )
        self.builder.add_room(box(width + _OVERLAP, depth + _OVERLAP, 0.1, palette.ceiling(), z=height), middle)
        for number, length in enumerate((width, width, depth, depth)):
            pose = wall_pose(self.size, number, 0.5)
            self.builder.add_room(
                panel(length + _OVERLAP, height + _OVERLAP, accent if number == 0 else wall, z=-_OVERLAP / 2), pose
            )
            self.builder.add_room(box(length, 0.024, tall, skirting), pose)

    def _door(self, wall: int) -> None:
        width = self.rng.uniform(0.8, 0.95)
        pose = wall_pose(self.size, wall, self.placer.share(wall, width + 0.2))
        leaf, frame = self.palette.lacquer(), self.palette.white()
        handle = box(0.12, 0.14, 0.02, self.palette.metal(), x=width * 0.4, z=1.02)
        for part in (box(width + 0.14, 0.04, _DOOR + 0.07, frame), box(width, 0.06, _DOOR, leaf), handle):
            self.builder.add_room(part, pose)
        self.placer.keep_free(turned_bounds(part_bounds([box(width, 1.8, _DOOR, leaf)]), pose))

    def _window(self, wall: int) -> None:
        rng, palette = self.rng, self.palette
        length = self.size[0] if wall < 2 else self.size[1]
        width, low = min(rng.uniform(0.8, 2.2), length - 0.5), rng.uniform(0.7, 1.05)
        high = rng.uniform(1.0, min(1.4, self.size[2] - low - 0.25))
        pose = wall_pose(self.size, wall, self.placer.share(wall, width + 0.2))
        strength = palette.between(self.look.daylight)
        frame, glass = palette.white(), panel(width, high, palette.outdoors(1.2 + strength), y=0.004, z=low)
        bars = max(2, round(width / 0.7) + 1)
        parts = [box(0.05, 0.08, high, frame, x=(n / (bars - 1) - 0.5) * width, z=low) for n in range(bars)]
        parts += [box(width + 0.05, 0.08, 0.05, frame, z=low + high), box(width + 0.16, 0.2, 0.03, frame, z=low - 0.03)]
        for part in (glass, *parts):
            self.builder.add_room(part, pose)
        self.placer.keep_free(turned_bounds(part_bounds([box(width, 0.5, high, frame, z=low)]), pose))
        if rng.random() < self.kind.curtains:
            for side in (-1, 1):
                self._curtain(pose.of(Pose(side * (width / 2 + 0.1), 0.15, low + high + 0.12)))
        area = [float(value) for value in turned_bounds(part_bounds([glass]), pose)]
        facing = pose.of(Pose(y=1.0))
        normal = facing.x - pose.x, facing.y - pose.y, 0.0
        x, y, z = ((area[k] + area[k + 3]) / 2 + 0.05 * normal[k] for k in range(3))
        power = strength * width * high * 2.2
        extent = (area[3] - area[0]) / 2, (area[4] - area[1]) / 2, (area[5] - area[2]) / 2
        self.windows.append(Light((x, y, z), (0.92 * power, 0.97 * power, 1.05 * power), extent, normal))

    def _curtain(self, top: Pose) -> None:
        """Hang a curtain so that its upper edge is at a pose."""
        piece = FURNITURE["curtain"]
        parts = piece.make(self.rng, self.palette)
        self.placer.put(piece, parts, top.of(Pose(z=-float(part_bounds(parts)[5]))))

    def _lamps(self) -> None:
        """The lights that cast shadows: the ceiling lamp if it is on, the largest window, the largest other lamp."""
        rng, (width, depth, height) = self.rng, self.size
        lights = sorted(self.windows, key=lambda light: -sum(light.colour))[:1]
        if rng.random() < self.look.ceiling_lamp or not (lights or self.builder.shades):
            parts = FURNITURE["ceiling_lamp"].make(rng, self.palette)
            drop = float(part_bounds(parts)[5])
            pose = Pose(width * rng.uniform(0.35, 0.65), depth * rng.uniform(0.35, 0.65), height - drop)
            self.builder.add_object(parts, pose)
            shade = next(part for part in parts if part.material.emits > 0)
            lights.insert(0, _lamp(shade, pose, power=0.11 * min(width * depth, 30.0)))
        standing = sorted(self.builder.shades, key=lambda item: -float(np.prod(item[0].high - item[0].low)))
        lights += [_lamp(shade, pose, power=self.rng.uniform(0.5, 0.9)) for shade, pose in standing[:1]]
        self.builder.lights = lights[:_SHADOWED]


def _lamp(shade: Part, pose: Pose, power: float) -> Light:
    """The light of a shade."""
    red, green, blue = shade.material.colours[0]
    middle = pose.of(Pose(*((float(low) + float(high)) / 2 for low, high in zip(shade.low, shade.high, strict=True))))
    return Light((middle.x, middle.y, middle.z), (red * power, green * power, blue * power), (0.12, 0.12, 0.08))
