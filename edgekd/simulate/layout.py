"""Puts a room together: walls with openings, furniture where it belongs, clutter on top of it, lamps."""

from __future__ import annotations

import numpy as np

from edgekd.simulate.furniture import CLUTTER, FURNITURE, Piece
from edgekd.simulate.kinds import KINDS, RoomKind
from edgekd.simulate.looks import Look
from edgekd.simulate.palette import Palette
from edgekd.simulate.scene import Builder, Light, Scene
from edgekd.simulate.shapes import Floats, Part, box, moved, panel, turned

__all__ = ["build_room"]

_WALLS = ((0.0, "y", 0), (np.pi, "y", 1), (-np.pi / 2, "x", 0), (np.pi / 2, "x", 1))  # angle of what stands against it


def build_room(look: Look, rng: np.random.Generator) -> Scene:
    """A furnished room of a kind drawn from KINDS."""
    names = list(KINDS)
    shares = np.array([KINDS[name].share for name in names])
    kind = KINDS[names[int(rng.choice(len(names), p=shares / shares.sum()))]]
    return _Layout(kind, look, rng).make()


class _Layout:
    def __init__(self, kind: RoomKind, look: Look, rng: np.random.Generator) -> None:
        self.kind, self.look, self.rng = kind, look, rng
        self.palette = Palette(look, rng)
        self.builder = Builder(rng)
        self.size = (float(rng.uniform(*kind.width)), float(rng.uniform(*kind.depth)), float(rng.uniform(*kind.height)))
        self.taken: list[Floats] = []  # boxes [6] of what stands already, and of what must stay free

    def make(self) -> Scene:
        self._shell()
        self._openings()
        for name, (least, most) in self.kind.pieces:
            for _ in range(int(self.rng.integers(least, most + 1))):
                self._place(name)
        self._lamps()
        return self.builder.build(self.size)

    # The room itself

    def _shell(self) -> None:
        width, depth, height = self.size
        wall, floor, ceiling = self.palette.wall(), self.palette.floor(), self.palette.ceiling()
        add = self.builder.add_room
        add(box(width, depth, 0.1, floor, x=width / 2, y=depth / 2, z=-0.1))
        add(box(width, depth, 0.1, ceiling, x=width / 2, y=depth / 2, z=height))
        skirting = self.palette.white()
        tall = self.rng.uniform(0.05, 0.12)
        accent = self.palette.wall() if self.rng.random() < 0.4 else wall
        for number in range(4):
            add(self._on_wall(panel(self._length(number), height, accent if number == 0 else wall), number, 0.5, 0.0))
            add(self._on_wall(box(self._length(number), 0.012, tall, skirting), number, 0.5, 0.0))

    def _length(self, wall: int) -> float:
        return self.size[0] if _WALLS[wall][1] == "y" else self.size[1]

    def _on_wall(self, part: Part, wall: int, along: float, gap: float) -> Part:
        """Turn a part that faces the front so that it stands `gap` before a wall, at a share of its length."""
        angle, axis, far = _WALLS[wall]
        width, depth, _ = self.size
        if axis == "y":
            return moved(turned(part, angle), x=along * width, y=depth - gap if far else gap)
        return moved(turned(part, angle), x=width - gap if far else gap, y=along * depth)

    def _openings(self) -> None:
        """A door, and up to three windows: all of them the room itself."""
        walls = self.rng.permutation(4)
        self._door(int(walls[0]))
        for wall in walls[1 : 1 + int(self.rng.integers(0, 4))]:
            self._window(int(wall))

    def _door(self, wall: int) -> None:
        width, height = self.rng.uniform(0.8, 0.95), 2.05
        along = self._share(wall, width + 0.2)
        leaf, frame = self.palette.lacquer(), self.palette.white()
        parts = [
            box(width + 0.14, 0.03, height + 0.07, frame),
            box(width, 0.05, height, leaf),
            box(0.12, 0.09, 0.02, self.palette.metal(), x=width * 0.4, z=1.02),
        ]
        for part in parts:
            self.builder.add_room(self._on_wall(part, wall, along, 0.0))
        self._keep_free(self._on_wall(box(width, 1.6, height, leaf), wall, along, 0.0))

    def _window(self, wall: int) -> None:
        length = self._length(wall)
        width, low = min(self.rng.uniform(0.8, 2.2), length - 0.5), self.rng.uniform(0.7, 1.05)
        high = self.rng.uniform(1.0, min(1.4, self.size[2] - low - 0.25))
        along = self._share(wall, width + 0.2)
        strength = self.palette.between(self.look.daylight)
        frame, view = self.palette.white(), self.palette.outdoors(1.2 + strength)
        parts = [panel(width, high, view, y=0.004, z=low)]
        bars = max(2, round(width / 0.7) + 1)
        parts += [box(0.05, 0.06, high, frame, x=(n / (bars - 1) - 0.5) * width, z=low) for n in range(bars)]
        parts += [box(width + 0.05, 0.06, 0.05, frame, z=low + high), box(width + 0.16, 0.2, 0.03, frame, z=low - 0.03)]
        for part in parts:
            self.builder.add_room(self._on_wall(part, wall, along, 0.0))
        glass = self._on_wall(panel(width, high, view, y=0.03, z=low), wall, along, 0.0)
        self._keep_free(self._on_wall(box(width, 0.3, high, frame, z=low), wall, along, 0.0))
        if self.rng.random() < 0.5:
            top = low + high + 0.15
            for side in (-1, 1):
                self._add(
                    FURNITURE["curtain"],
                    lambda parts: [
                        self._on_wall(moved(p, x=side * (width / 2 + 0.15), z=top - p.high[2]), wall, along, 0.09)
                        for p in parts
                    ],
                )
        centre, normal = (glass.low + glass.high) / 2, glass.normals[0, 0]
        power = strength * width * high * 2.2
        self.builder.lights.append(
            Light(
                _triple(centre + 0.05 * normal),
                (0.92 * power, 0.97 * power, 1.05 * power),
                _triple((glass.high - glass.low) / 2),
                _triple(normal),
            )
        )

    def _share(self, wall: int, width: float) -> float:
        spare = max(0.0, 1 - width / self._length(wall))
        return 0.5 + (self.rng.random() - 0.5) * spare

    # Furniture

    def _place(self, name: str) -> None:
        piece = FURNITURE[name]
        parts = piece.make(self.rng, self.palette)
        for _ in range(15):
            stood = self._try(piece, parts)
            if stood is None:
                continue
            put, low, high = stood
            self._add(piece, lambda made, put=put: [put(part) for part in made], parts)
            self._companions(piece, put, low, high)
            return

    def _try(self, piece: Piece, parts: list[Part]):  # type: ignore[no-untyped-def]
        """A placement that collides with nothing, or None."""
        rng = self.rng
        low, high = np.min([p.low for p in parts], axis=0), np.max([p.high for p in parts], axis=0)
        width, depth, height = self.size
        if piece.place in ("wall", "hung"):
            wall = int(rng.integers(4))
            if high[0] - low[0] > self._length(wall) - 0.1:
                return None
            along, gap = self._share(wall, float(high[0] - low[0]) + 0.1), 0.015 - float(low[1])
            rise = rng.uniform(*piece.at) - (float(high[2] + low[2]) / 2 if piece.at[0] > 0.5 else 0)
            jitter = 0.0 if piece.place == "hung" else rng.normal(0, 0.02)
            put = lambda part: self._on_wall(
                moved(turned(part, jitter), z=rise), wall, along, gap + 0.02 * (jitter != 0)
            )
        else:
            angle = float(rng.integers(4)) * np.pi / 2 + rng.normal(0, 0.12)
            reach = float(np.hypot(high[0], high[1]))
            if 2 * reach + 0.2 > min(width, depth):
                reach = min(width, depth) / 2 - 0.2
            x, y = rng.uniform(reach + 0.1, width - reach - 0.1), rng.uniform(reach + 0.1, depth - reach - 0.1)
            z = height - float(high[2]) if piece.place == "ceiling" else 0.0
            put = lambda part: moved(turned(part, angle), x, y, z)
        found = self._bounds([put(part) for part in parts])
        if piece.place != "floor" and not self._free(found):
            return None
        return put, low, high

    def _companions(self, piece: Piece, put, low: Floats, high: Floats) -> None:  # type: ignore[no-untyped-def]
        rng = self.rng
        near: list[tuple[str, float, float, float]] = []
        if piece.seats:
            seat = piece.seats[int(rng.integers(len(piece.seats)))]
            count = max(1, int((high[0] - low[0]) / 0.62)) if piece.seats_all_round else 1
            for number in range(count):
                x = (number - (count - 1) / 2) * 0.6
                near.append((seat, x, float(high[1]) + rng.uniform(0.0, 0.35), np.pi))
                if piece.seats_all_round:
                    near.append((seat, x, float(low[1]) - rng.uniform(0.0, 0.35), 0.0))
            if piece.seats_all_round:
                near += [(seat, float(low[0]) - 0.15, 0.0, -np.pi / 2), (seat, float(high[0]) + 0.15, 0.0, np.pi / 2)]
        if piece.before:
            near.append((piece.before, rng.normal(0, 0.1), float(high[1]) + rng.uniform(0.6, 0.8), 0.0))
        if piece.beside:
            near += [
                (piece.beside, side, float(low[1]) + 0.25, 0.0)
                for side in (float(low[0]) - 0.32, float(high[0]) + 0.32)
            ]
        for name, x, y, angle in near:
            if rng.random() < 0.2:
                continue
            turn = angle + rng.normal(0, 0.12)
            beside = lambda part: put(moved(turned(part, turn), x, y))
            made = FURNITURE[name].make(rng, self.palette)
            bounds = self._bounds([beside(part) for part in made])
            slack = 0.25 if piece.seats else 0.0  # a chair's seat goes under its table
            if self._free(bounds, slack):
                self._add(FURNITURE[name], lambda parts, beside=beside: [beside(part) for part in parts], made)

    def _add(self, piece: Piece, put, parts: list[Part] | None = None) -> None:  # type: ignore[no-untyped-def]
        """Add a piece as an object, and the clutter that stands on it."""
        made = piece.make(self.rng, self.palette) if parts is None else parts
        stood = put(made)
        self.builder.add_object(stood)
        if piece.place != "floor":
            self.taken.append(self._bounds(stood))
        for part in made:
            if part.holds is not None:
                self._clutter(part, put)

    def _clutter(self, part: Part, put) -> None:  # type: ignore[no-untyped-def]
        """Fill a surface: pieces are drawn until the look's clutter is reached or the surface is full."""
        rng, low, high = self.rng, part.low, part.high
        names = CLUTTER[part.holds or ""]
        width, depth = float(high[0] - low[0]), float(high[1] - low[1])
        amount = self.palette.between(self.look.clutter) * max(width * depth, 0.15)
        wanted = int(rng.poisson(min(amount, 7.0)))
        if part.holds in ("desk", "media") and rng.random() < 0.8:
            wanted = max(wanted, 1)
        used: list[tuple[float, float, float, float]] = []
        for number in range(wanted):
            name = names[0] if number == 0 and rng.random() < 0.6 else names[int(rng.integers(len(names)))]
            parts = FURNITURE[name].make(rng, self.palette)
            small, large = np.min([p.low for p in parts], axis=0), np.max([p.high for p in parts], axis=0)
            if large[2] > part.room or large[0] - small[0] > width or large[1] - small[1] > depth:
                continue
            for _ in range(4):
                x = rng.uniform(low[0] - small[0], high[0] - large[0])
                back = name in ("monitor", "television", "book_row")
                y = float(low[1] - small[1]) + 0.02 if back else rng.uniform(low[1] - small[1], high[1] - large[1])
                turn = rng.normal(0, 0.08 if back else 0.25)
                foot = x + small[0], y + small[1], x + large[0], y + large[1]
                if any(foot[0] < u[2] and u[0] < foot[2] and foot[1] < u[3] and u[1] < foot[3] for u in used):
                    continue
                used.append(foot)
                self.builder.add_object([put([moved(turned(p, turn), x, y, float(high[2]))])[0] for p in parts])
                break

    # Lamps

    def _lamps(self) -> None:
        """One or two lamps under the ceiling; with the windows at most two lights cast shadows."""
        rng, (width, depth, height) = self.rng, self.size
        piece = FURNITURE["ceiling_lamp"]
        parts = piece.make(rng, self.palette)
        x, y, drop = (
            width * rng.uniform(0.35, 0.65),
            depth * rng.uniform(0.35, 0.65),
            max(float(p.high[2]) for p in parts),
        )
        stood = [moved(part, x, y, height - drop) for part in parts]
        self.builder.add_object(stood)
        shade = next(part for part in stood if part.material.emits > 0)
        power = 0.45 * width * depth / 4
        colour = shade.material.colours[0]
        lamp = Light(
            _triple((shade.low + shade.high) / 2),
            (colour[0] * power, colour[1] * power, colour[2] * power),
            (0.12, 0.12, 0.08),
        )
        windows = sorted(self.builder.lights, key=lambda light: -sum(light.colour))
        self.builder.lights = [lamp, *windows[:1]]

    # Space

    def _bounds(self, parts: list[Part]) -> Floats:
        low, high = np.min([p.low for p in parts], axis=0), np.max([p.high for p in parts], axis=0)
        return np.concatenate([low, high])

    def _keep_free(self, part: Part) -> None:
        self.taken.append(self._bounds([part]))

    def _free(self, bounds: Floats, slack: float = 0.0) -> bool:
        """Inside the room and clear of everything that stands there."""
        low, high = bounds[:3] + slack, bounds[3:] - slack
        if (bounds[:2] < -0.001).any() or bounds[3] > self.size[0] + 0.001 or bounds[4] > self.size[1] + 0.001:
            return False
        if not self.taken:
            return True
        taken = np.array(self.taken)
        apart = (
            (taken[:, :2] >= high[:2]).any(1)
            | (taken[:, 3:5] <= low[:2]).any(1)
            | (taken[:, 2] >= bounds[5])
            | (taken[:, 5] <= bounds[2])
        )
        return bool(apart.all())


def _triple(values: Floats) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
