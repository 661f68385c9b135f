"""Where something stands."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgekd.simulate.shapes import Floats

__all__ = ["Pose", "turned_bounds"]


@dataclass(frozen=True)
class Pose:
    """A turn about the z axis (radians, anticlockwise from above), then a shift in metres."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    angle: float = 0.0

    def of(self, inner: Pose) -> Pose:
        """The pose in the room of something that has the pose `inner` relative to this one."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return Pose(
            self.x + cos * inner.x - sin * inner.y,
            self.y + sin * inner.x + cos * inner.y,
            self.z + inner.z,
            self.angle + inner.angle,
        )


def turned_bounds(box: Floats, pose: Pose) -> Floats:
    """The axis-aligned box [6] around a box that was given a pose."""
    cos, sin = math.cos(pose.angle), math.sin(pose.angle)
    x, y = (float(box[0] + box[3]) / 2, float(box[1] + box[4]) / 2)
    half_x, half_y = float(box[3] - box[0]) / 2, float(box[4] - box[1]) / 2
    middle_x, middle_y = pose.x + cos * x - sin * y, pose.y + sin * x + cos * y
    reach_x, reach_y = abs(cos) * half_x + abs(sin) * half_y, abs(sin) * half_x + abs(cos) * half_y
    low = [middle_x - reach_x, middle_y - reach_y, pose.z + box[2]]
    return np.array([*low, middle_x + reach_x, middle_y + reach_y, pose.z + box[5]], np.float32)
