"""Batches of mixed images.

Batch k is a function of the seed and k alone, so a resumed run sees what it would have seen.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError
from edgekd.distill.mixing import mix_batch
from edgekd.distill.settings import DistillSettings
from edgekd.simulate.sample import ImageSource
from targets.input import Framing

__all__ = ["Batch", "Batches", "FramedImages"]

_AHEAD = 3
_CACHE_BYTES = 3 << 30


@dataclass(frozen=True)
class Batch:
    """One batch as the network's input wants it, before any transformation."""

    step: int
    simulated: NDArray[np.uint8]  # [N, H, W, 3]
    mixed: NDArray[np.uint8]  # [N, H, W, 3]; the same as `simulated` without mixing


class FramedImages:
    """Simulated images framed for a network, kept in memory once read as far as they fit."""

    def __init__(self, source: ImageSource, framing: Framing) -> None:
        self._source = source
        self._framing = framing
        per_image = framing.height * framing.width * 5
        self._room = max(1, _CACHE_BYTES // per_image)
        self._kept: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint16]]] = {}

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Picture uint8 [H, W, 3] and instance ids uint16 [H, W] at the network's resolution."""
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        sample = self._source[index]
        framed = self._framing.image(sample.rgb), self._framing.nearest(sample.ids)
        if len(self._kept) < self._room:
            self._kept[index] = framed
        return framed


class Batches:
    """The training batches and the images set aside from them."""

    def __init__(self, images: FramedImages, settings: DistillSettings) -> None:
        if len(images) < settings.set_aside + settings.batch:
            raise DataError(
                f"{len(images)} simulated images are too few: {settings.set_aside} are set aside for calibration"
                f" and a batch takes {settings.batch}",
                fix=f"Simulate at least {settings.set_aside + 4 * settings.batch} images: --images COUNT",
            )
        self._images = images
        self._settings = settings
        order = np.random.default_rng([settings.seed, 1]).permutation(len(images))
        self.set_aside: NDArray[np.intp] = np.sort(order[: settings.set_aside])
        self._training = np.sort(order[settings.set_aside :])

    def batch(self, step: int) -> Batch:
        """Batch number `step`: shuffled by epoch, flipped half of the time, mixed when mixing is on."""
        settings = self._settings
        rng = np.random.default_rng([settings.seed, 2, step])
        pictures, ids = [], []
        for position in range(step * settings.batch, (step + 1) * settings.batch):
            picture, identity = self._images[self._index(position)]
            if rng.random() < 0.5:
                picture, identity = picture[:, ::-1], identity[:, ::-1]
            pictures.append(picture)
            ids.append(identity)
        simulated = np.stack(pictures)
        mixed = simulated if settings.mixing is None else mix_batch(simulated, np.stack(ids), settings.mixing, rng)
        return Batch(step, simulated, mixed)

    def aside(self) -> NDArray[np.uint8]:
        """The images set aside, uint8 [set_aside, H, W, 3]; no batch holds one of them."""
        return np.stack([self._images[int(index)][0] for index in self.set_aside])

    def stream(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches `start` to `stop`, made ahead in a thread."""
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            ahead: list[Future[Batch]] = []
            try:
                for step in range(start, stop):
                    while len(ahead) < _AHEAD and step + len(ahead) < stop:
                        ahead.append(pool.submit(self.batch, step + len(ahead)))
                    yield ahead.pop(0).result()
            finally:
                for future in ahead:
                    future.cancel()

    def _index(self, position: int) -> int:
        epoch, place = divmod(position, len(self._training))
        return int(self._training[_shuffled(self._settings.seed, epoch, len(self._training))[place]])


@functools.lru_cache(maxsize=4)
def _shuffled(seed: int, epoch: int, count: int) -> NDArray[np.intp]:
    return np.random.default_rng([seed, 3, epoch]).permutation(count)
