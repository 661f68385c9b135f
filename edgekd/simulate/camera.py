"""Where the camera stands, and the rays it sends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.simulate.scene import Scene
from edgekd.simulate.shapes import Floats

__all__ = ["Camera", "choose_camera"]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with optional radial distortion. Angles in radians; yaw 0 looks along positive x."""

    position: tuple[float, float, float]
    yaw: float
    pitch: float  # positive looks up
    roll: float
    width: int
    height: int
    focal: float  # in pixels
    distortion: float = 0.0  # k1: the ray of a pixel at radius r goes through r (1 - k1 r^2)

    def axes(self) -> Floats:
        """Rows: right, down and forward in the room's coordinates."""
        cy, sy, cp, sp = np.cos(self.yaw), np.sin(self.yaw), np.cos(self.pitch), np.sin(self.pitch)
        forward = np.array([cy * cp, sy * cp, sp])
        right = np.array([sy, -cy, 0.0])
        down = np.cross(forward, right)
        cr, sr = np.cos(self.roll), np.sin(self.roll)
        return np.stack([cr * right + sr * down, cr * down - sr * right, forward]).astype(np.float32)

    def directions(self, columns: Floats, rows: Floats) -> Floats:
        """Rays [N, 3] through pixel positions; along the optical axis they are 1 long, so t is planar depth."""
        x = (columns - (self.width - 1) / 2) / np.float32(self.focal)
        y = (rows - (self.height - 1) / 2) / np.float32(self.focal)
        if self.distortion:
            bend = 1 - np.float32(self.distortion) * (x * x + y * y)
            x, y = x * bend, y * bend
        right, down, forward = self.axes()
        rays: Floats = x[:, None] * right + y[:, None] * down + forward
        return rays

    def pixels(self) -> tuple[Floats, Floats]:
        """Columns and rows of all pixels, flattened row by row."""
        columns, rows = np.meshgrid(np.arange(self.width, dtype=np.float32), np.arange(self.height, dtype=np.float32))
        return columns.ravel(), rows.ravel()


def choose_camera(scene: Scene, rng: np.random.Generator, height: int, width: int, distortion: float) -> Camera:
    """A camera in free space at the height of a person or a robot, looking into the room; the best of several tries."""
    best, best_score = None, -np.inf
    for _ in range(40):
        camera = _draw(scene, rng, height, width, distortion)
        if _blocked(scene, camera.position):
            continue
        score = _score(scene, camera)
        if score > best_score:
            best, best_score = camera, score
        if score >= 1:
            break
    return best if best is not None else _draw(scene, rng, height, width, distortion)


def _draw(scene: Scene, rng: np.random.Generator, height: int, width: int, distortion: float) -> Camera:
    room = scene.size
    x, y = (rng.uniform(0.3, size - 0.3) for size in room[:2])
    z = float(np.clip(rng.normal(1.35, 0.22), 0.6, 1.85)) if rng.random() < 0.8 else float(rng.uniform(0.3, 0.9))
    target = room[0] * rng.uniform(0.2, 0.8), room[1] * rng.uniform(0.2, 0.8)
    yaw = float(np.arctan2(target[1] - y, target[0] - x) + rng.normal(0, 0.3))
    pitch = float(np.clip(rng.normal(-0.22, 0.13) - (z - 1.3) * 0.15, -0.7, 0.3))
    view = np.deg2rad(rng.uniform(56, 66) if rng.random() < 0.8 else rng.uniform(66, 75))
    focal = width / 2 / float(np.tan(view / 2))
    return Camera((x, y, z), yaw, pitch, float(rng.normal(0, 0.03)), width, height, focal, distortion)


def _blocked(scene: Scene, position: tuple[float, float, float]) -> bool:
    point, margin = np.array(position, np.float32), np.float32(0.3)
    inside = (scene.boxes[:, :3] - margin < point) & (point < scene.boxes[:, 3:] + margin)
    return bool(inside.all(axis=1).any())


def _score(scene: Scene, camera: Camera) -> float:
    """1 when nothing is too near, the middle of the picture is a few metres off and there is something to see."""
    columns = np.linspace(0, camera.width - 1, 16, dtype=np.float32)
    rows = np.linspace(0, camera.height - 1, 12, dtype=np.float32)
    grid = np.meshgrid(columns, rows)
    directions = camera.directions(grid[0].ravel(), grid[1].ravel())
    origins = np.broadcast_to(np.array(camera.position, np.float32), directions.shape).copy()
    seen = scene.visible.run(origins, directions, output=True)
    depth: NDArray[np.float32] = seen["tfar"]
    objects = scene.objects[seen["primID"]]
    nearest, near, middle, far = np.quantile(depth, [0.02, 0.1, 0.5, 0.9])
    share, kinds = float((objects > 0).mean()), len(np.unique(objects))
    return float(min(nearest / 0.7, 1.0, middle / 1.7, share / 0.3, kinds / 6, far / near / 1.6))
