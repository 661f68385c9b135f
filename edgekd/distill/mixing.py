"""Object mixing: objects of one simulated image pasted into another by their instance ids.

x^ = m * x_j + (1 - m) * x_i, with m the mask of objects of image j (Hu et al., arXiv 2208.12464). It covers more
arrangements of objects than were rendered. Ours: one to a few objects of middling size, moved to another column.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekd.distill.settings import MixingSettings

__all__ = ["mix", "mix_batch"]


def mix(
    image: NDArray[np.uint8],
    other: NDArray[np.uint8],
    other_ids: NDArray[np.uint16],
    settings: MixingSettings,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """`image` uint8 [H, W, 3] with one to `max_objects` objects of `other` pasted in; `image` itself is not changed.

    `other_ids` uint16 [H, W]: 0 is the room, which is never cut out. Without a fitting object `image` comes back.
    """
    areas = np.bincount(other_ids.ravel()) / other_ids.size
    areas[0] = 0  # the room
    fitting = np.flatnonzero((areas > 0) & (areas >= settings.min_area) & (areas <= settings.max_area))
    if fitting.size == 0:
        return image
    chosen = rng.choice(fitting, size=min(fitting.size, int(rng.integers(1, settings.max_objects + 1))), replace=False)
    width = image.shape[1]
    mixed = image.copy()
    for object_id in chosen:
        # Sideways only: an object keeps the row, and with it the height in the picture, at which it can stand.
        shift = int(rng.integers(-width // 3, width // 3 + 1))
        rows, columns = np.nonzero(other_ids == object_id)
        moved = columns + shift
        inside = (moved >= 0) & (moved < width)
        mixed[rows[inside], moved[inside]] = other[rows[inside], columns[inside]]
    return mixed


def mix_batch(
    images: NDArray[np.uint8], ids: NDArray[np.uint16], settings: MixingSettings, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Mix a batch uint8 [N, H, W, 3] with itself: image i receives objects of image i + 1."""
    mixed = images.copy()
    for index in np.flatnonzero(rng.random(len(images)) < settings.probability):
        giver = (index + 1) % len(images)
        mixed[index] = mix(images[index], images[giver], ids[giver], settings, rng)
    return mixed
