"""Object mixing: objects of one simulated image pasted into another by their instance ids.

x^ = m * x_j + (1 - m) * x_i, with m the mask of objects of image j (Hu et al., arXiv 2208.12464). It covers more
arrangements of objects than were rendered. Here one to a few objects of medium size are moved to another column.

The plan depends on the objects' areas alone. `mix_batch` carries it out on arrays, resident.py on the device that holds
the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.distill.settings import MixingSettings

__all__ = ["Paste", "mix_batch", "object_areas", "plan_batch"]


@dataclass(frozen=True)
class Paste:
    """One object of another image of a batch, moved sideways only: it keeps its row, and with it a height at which it
    can stand."""

    receiver: int  # number of the image in the batch
    giver: int
    object_id: int
    shift: int  # columns to the right

    def columns(self, width: int) -> tuple[slice, slice]:
        """The columns it is taken from and those it goes to, equally many, in a picture of `width`."""
        taken = slice(max(0, -self.shift), width - max(0, self.shift))
        return taken, slice(taken.start + self.shift, taken.stop + self.shift)


def object_areas(ids: NDArray[np.uint16]) -> NDArray[np.float64]:
    """The share of a picture [H, W] that each id covers, by id. Id 0, the room, is never cut out and gets 0."""
    areas: NDArray[np.float64] = np.bincount(ids.ravel()) / ids.size
    areas[0] = 0
    return areas


def plan_batch(
    areas: Sequence[NDArray[np.float64]], width: int, settings: MixingSettings, rng: np.random.Generator
) -> list[Paste]:
    """Which objects each image of a batch receives from the one after it; `areas` are those of `object_areas`."""
    count = len(areas)
    receivers = np.flatnonzero(rng.random(count) < settings.probability).tolist()
    pastes = []
    for receiver in receivers:
        giver = (receiver + 1) % count
        chosen = _chosen(areas[giver], width, settings, rng)
        pastes += [Paste(receiver, giver, number, shift) for number, shift in chosen]
    return pastes


def mix_batch(images: NDArray[np.uint8], ids: NDArray[np.uint16], pastes: Sequence[Paste]) -> NDArray[np.uint8]:
    """A copy of a batch uint8 [N, H, W, 3] with objects of its images pasted as planned.

    `ids` uint16 [N, H, W] give the object that each pixel belongs to.
    """
    mixed = images.copy()
    for paste in pastes:
        taken, given = paste.columns(images.shape[2])
        mask = ids[paste.giver, :, taken] == paste.object_id
        mixed[paste.receiver, :, given][mask] = images[paste.giver, :, taken][mask]
    return mixed


def _chosen(
    areas: NDArray[np.float64], width: int, settings: MixingSettings, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Up to `max_objects` objects of a suitable size and how far each is moved; empty if there are none."""
    fitting = np.flatnonzero((areas > 0) & (areas >= settings.min_area) & (areas <= settings.max_area))
    if fitting.size == 0:
        return []
    chosen = rng.choice(fitting, size=min(fitting.size, int(rng.integers(1, settings.max_objects + 1))), replace=False)
    return [(int(number), int(rng.integers(-width // 3, width // 3 + 1))) for number in chosen]
