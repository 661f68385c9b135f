"""Smooth edges at the cost of a few rays, sent only through pixels where two surfaces meet."""

from __future__ import annotations

import numpy as np

from edgekd.simulate.camera import Camera
from edgekd.simulate.rays import Hits
from edgekd.simulate.scene import Scene
from edgekd.simulate.shapes import Floats

__all__ = ["smooth_edges"]

_OFFSETS = ((0.35, 0.12), (-0.12, 0.35), (-0.28, -0.32))  # of the extra rays, in pixels; the fourth is the middle


def smooth_edges(scene: Scene, camera: Camera, hits: Hits, radiance: Floats) -> Floats:
    """Blend edge pixels of a picture [H, W, 3] with what three more rays meet.

    An extra ray is not shaded: it takes the colour of a neighbouring pixel that shows the same surface.
    """
    height, width = radiance.shape[:2]
    surface = scene.surface[hits.triangle].reshape(height, width)
    edge = np.zeros((height, width), bool)
    across, down = surface[:, 1:] != surface[:, :-1], surface[1:] != surface[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    rows, columns = np.nonzero(edge)
    own = radiance[rows, columns]
    total = own.copy()
    origin = np.broadcast_to(np.array(camera.position, np.float32), own.shape).copy()
    for x, y in _OFFSETS:
        directions = camera.directions(
            columns.astype(np.float32) + np.float32(x), rows.astype(np.float32) + np.float32(y)
        )
        met = scene.surface[scene.visible.run(origin, directions)]
        beside = np.clip(columns + (1 if x > 0 else -1), 0, width - 1)
        above = np.clip(rows + (1 if y > 0 else -1), 0, height - 1)
        colour = own.copy()
        for row, column in ((above, beside), (above, columns), (rows, beside), (rows, columns)):
            same = surface[row, column] == met
            colour[same] = radiance[row[same], column[same]]
        total += colour
    blended = radiance.copy()
    blended[rows, columns] = total / np.float32(len(_OFFSETS) + 1)
    return blended
