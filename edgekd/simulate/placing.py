"""Finds a place for each piece of furniture, for what belongs near it, and for the clutter on top of it."""

from __future__ import annotations

import math

import numpy as np

from edgekd.simulate.builder import Builder, part_bounds
from edgekd.simulate.furniture import CLUTTER, FURNITURE, Near, Piece
from edgekd.simulate.looks import Look
from edgekd.simulate.palette import Palette
from edgekd.simulate.pose import Pose, turned_bounds
from edgekd.simulate.scene import Triple
from edgekd.simulate.shapes import Floats, Part

__all__ = ["Placer", "wall_pose"]

_TRIES = 15
_SEAT_UNDER = 0.25  # metres that a chair may reach under its table


def wall_pose(size: Triple, wall: int, along: float, gap: float = 0.0) -> Pose:
    """Back to a wall (0 to 3: y low, y high, x low, x high) at a share of its length, `gap` away, facing the room."""
    width, depth, _ = size
    return (
        Pose(along * width, gap, 0.0, 0.0),
        Pose(along * width, depth - gap, 0.0, math.pi),
        Pose(gap, along * depth, 0.0, -math.pi / 2),
        Pose(width - gap, along * depth, 0.0, math.pi / 2),
    )[wall]


class Placer:
    """Places furniture and keeps track of the space that is taken."""

    def __init__(self, size: Triple, look: Look, palette: Palette, builder: Builder) -> None:
        self.size, self.look, self.palette, self.builder = size, look, palette, builder
        self.rng = palette.rng
        self._taken: list[Floats] = []

    def keep_free(self, box: Floats) -> None:
        """Let nothing be placed in a box [6]."""
        self._taken.append(box)

    def place(self, name: str) -> None:
        """Make a piece and place it, with what belongs near it; it is left out if there is no space."""
        if name not in self.look.without:
            self.place_piece(FURNITURE[name])

    def place_piece(self, piece: Piece) -> None:
        """Like `place`, for a piece that is not in FURNITURE."""
        parts = piece.make(self.rng, self.palette)
        box = part_bounds(parts)
        for _ in range(_TRIES):
            pose = self._draw(piece, box)
            if pose is not None and (piece.place == "floor" or self.is_free(turned_bounds(box, pose))):
                self.put(piece, parts, pose)
                for near in piece.near:
                    self._place_near(near, pose, box)
                return

    def put(self, piece: Piece, parts: list[Part], pose: Pose) -> None:
        """Add a piece at a pose, and clutter on its surfaces."""
        box = self.builder.add_object(parts, pose)
        if piece.place != "floor":
            self._taken.append(box)
        for part in parts:
            if part.holds is not None:
                self._clutter(part, pose)

    def is_free(self, box: Floats, slack: float = 0.0) -> bool:
        """Whether a box is inside the room and, with `slack` metres taken off its sides, clear of what stands there."""
        if box[0] < -0.001 or box[1] < -0.001 or box[3] > self.size[0] + 0.001 or box[4] > self.size[1] + 0.001:
            return False
        if not self._taken:
            return True
        taken, low, high = np.array(self._taken), box[:2] + slack, box[3:5] - slack
        apart = (taken[:, :2] >= high).any(1) | (taken[:, 3:5] <= low).any(1)
        return bool((apart | (taken[:, 2] >= box[5]) | (taken[:, 5] <= box[2])).all())

    def share(self, wall: int, width: float) -> float:
        """A share of a wall's length around which something `width` wide fits."""
        length = self.size[0] if wall < 2 else self.size[1]
        return 0.5 + (self.rng.random() - 0.5) * max(0.0, 1 - width / length)

    def _draw(self, piece: Piece, box: Floats) -> Pose | None:
        """A pose to try, or None when the wall is too short."""
        rng, (width, depth, height) = self.rng, self.size
        if piece.place in ("wall", "hung"):
            wall, across = int(rng.integers(4)), float(box[3] - box[0])
            if across > (width if wall < 2 else depth) - 0.1:
                return None
            if piece.place == "hung":
                middle = float(box[2] + box[5]) / 2
                return wall_pose(self.size, wall, self.share(wall, across + 0.1), 0.002 - float(box[1])).of(
                    Pose(z=rng.uniform(*piece.at) - middle)
                )
            turn = rng.normal(0, 0.02)
            gap = 0.015 - float(box[1]) + abs(turn) * across / 2
            return wall_pose(self.size, wall, self.share(wall, across + 0.1), gap).of(Pose(angle=turn))
        reach = min(math.hypot(box[3], box[4]), min(width, depth) / 2 - 0.2) + 0.1
        angle = int(rng.integers(4)) * math.pi / 2 + rng.normal(0, 0.1)
        x, y = rng.uniform(reach, width - reach), rng.uniform(reach, depth - reach)
        return Pose(x, y, height - float(box[5]) if piece.place == "ceiling" else 0.0, angle)

    def _place_near(self, near: Near, pose: Pose, box: Floats) -> None:
        """Put chairs at tables, bedside tables next to beds, and so on."""
        rng = self.rng
        names = [name for name in near.pieces if name not in self.look.without]
        if not names:
            return
        name = names[int(rng.integers(len(names)))]
        piece = FURNITURE[name]
        for spot in _spots(near, box, rng):
            if rng.random() > near.chance:
                continue
            parts = piece.make(rng, self.palette)
            inner = part_bounds(parts)
            if near.where == "above":
                spot = Pose(spot.x, float(box[1] - inner[1]), rng.uniform(*piece.at) - float(inner[2] + inner[5]) / 2)
            elif near.where == "sides":
                side = 1 if spot.x > 0 else -1
                x = spot.x + side * (float(inner[3] - inner[0]) / 2 + 0.06)
                spot = Pose(x, float(box[1] - inner[1]) + 0.02, 0.0, rng.normal(0, 0.03))
            there = pose.of(spot)
            if self.is_free(turned_bounds(inner, there), _SEAT_UNDER if near.where in ("around", "front") else 0.0):
                self.put(piece, parts, there)

    def _clutter(self, part: Part, pose: Pose) -> None:
        """Stand small things on a part's upper face until the look's clutter is reached or no space is found."""
        rng, low, high = self.rng, part.low, part.high
        names = CLUTTER[part.holds or ""]
        width, depth = float(high[0] - low[0]), float(high[1] - low[1])
        wanted = int(rng.poisson(min(self.palette.between(self.look.clutter) * max(width * depth, 0.15), 7.0)))
        if part.holds in ("books", "desk", "media", "worktop"):
            wanted = max(wanted, int(rng.integers(1, 5)))
        used: list[Floats] = []
        for number in range(wanted):
            name = names[0] if number == 0 and rng.random() < 0.6 else names[int(rng.integers(len(names)))]
            piece = FURNITURE[name]
            parts = piece.make(rng, self.palette)
            box = part_bounds(parts)
            if box[5] > part.room or box[3] - box[0] > width or box[4] - box[1] > depth:
                continue
            for _ in range(4):
                x, y = rng.uniform(low[0] - box[0], high[0] - box[3]), rng.uniform(low[1] - box[1], high[1] - box[4])
                turn = rng.normal(0, 0.25)
                if piece.place == "top_back":
                    y, turn = float(low[1] - box[1]) + 0.02, rng.normal(0, 0.05)
                spot = Pose(x, y, float(high[2]), turn)
                foot = box + np.array([x, y, 0, x, y, 0], np.float32)
                if any((foot[:2] < u[3:5]).all() and (u[:2] < foot[3:5]).all() for u in used):
                    continue
                used.append(foot)
                self.builder.add_object(parts, pose.of(spot))
                break


def _spots(near: Near, box: Floats, rng: np.random.Generator) -> list[Pose]:
    """Where things go around a piece with the box [6], in the piece's own coordinates."""
    left, back, right, front = float(box[0]), float(box[1]), float(box[3]), float(box[4])
    middle = (left + right) / 2
    if near.where == "front":
        return [Pose(middle + rng.normal(0, 0.08), front + rng.uniform(0.0, 0.4), 0.0, math.pi + rng.normal(0, 0.3))]
    if near.where == "ahead":
        return [Pose(middle + rng.normal(0, 0.1), front + rng.uniform(0.6, 0.85), 0.0, rng.normal(0, 0.06))]
    if near.where == "above":
        return [Pose(middle + rng.normal(0, 0.05))]
    if near.where == "sides":
        return [Pose(left), Pose(right)]
    count = max(1, int((right - left) / 0.62))
    spots = []
    for number in range(count):
        x = middle + (number - (count - 1) / 2) * 0.6
        for y, angle in ((front, math.pi), (back, 0.0)):
            out = rng.uniform(0.0, 0.3)
            spots.append(Pose(x + rng.normal(0, 0.03), y + (out if angle else -out), 0.0, angle + rng.normal(0, 0.15)))
    ends = [Pose(left - 0.15, 0.0, 0.0, -math.pi / 2), Pose(right + 0.15, 0.0, 0.0, math.pi / 2)]
    return spots + ends
