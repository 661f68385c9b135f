"""A picture to try a model on when no other is available: a room's worth of shading, edges and colours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["trial_pictures"]


def trial_pictures(height: int, width: int) -> NDArray[np.uint8]:
    """Two pictures uint8 [2, height, width, 3]: floor, wall and three boxes, lit from either side."""
    rows, columns = np.mgrid[0:height, 0:width]
    y, x = rows / height, columns / width
    wall = np.stack([0.75 - 0.2 * x, 0.7 - 0.25 * x, 0.6 - 0.2 * x], axis=-1)
    floor = np.stack([0.5 * y, 0.35 * y, 0.25 * y], axis=-1) + 0.1 * np.sin(40 * x)[..., None]
    picture = np.where((y > 0.6)[..., None], floor, wall)
    for top, left, size, colour in ((0.3, 0.1, 0.25, (0.8, 0.2, 0.2)), (0.45, 0.5, 0.3, (0.15, 0.3, 0.6)),
                                    (0.5, 0.4, 0.15, (0.9, 0.85, 0.3))):  # fmt: skip
        inside = (y >= top) & (y < top + size) & (x >= left) & (x < left + size)
        picture = np.where(inside[..., None], np.array(colour) * (0.6 + 0.4 * (y - top) / size)[..., None], picture)
    lit = np.clip(picture, 0, 1)
    return np.asarray(np.stack([lit, lit[:, ::-1] * 0.6]) * 255, dtype=np.uint8)
