"""Batches of mixed images.

Batch k depends on the seed and k alone, so a resumed run sees the same batches.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from calibration.errors import DataError
from calibration.wording import counted
from edgekd.distill.framed_images import TrainingImages
from edgekd.distill.mixing import plan_batch
from edgekd.distill.settings import DistillSettings

__all__ = ["Batch", "Batches"]

_AHEAD = 3


@dataclass(frozen=True)
class Batch:
    """One batch framed for the network's input, before any transformation."""

    step: int
    simulated: Tensor  # uint8 [N, H, W, 3], on the CPU or on the device that trains
    mixed: Tensor  # likewise; the same as `simulated` without mixing

    def first(self, count: int) -> Batch:
        """The batch cut to at most its first `count` pictures."""
        return Batch(self.step, self.simulated[:count], self.mixed[:count])


class Batches:
    """The training batches and the images set aside from them."""

    def __init__(self, images: TrainingImages, settings: DistillSettings) -> None:
        if len(images) < settings.least_images:
            raise DataError(
                f"{counted(len(images), 'simulated image is', 'simulated images are')} too few: "
                f"{settings.set_aside} are set aside for calibration and a batch takes {settings.batch}",
                fix=f"Simulate at least {settings.set_aside + 4 * settings.batch} images: --images COUNT",
            )
        self._images = images
        self._settings = settings
        first = self.available(0)
        aside = np.random.default_rng([settings.seed, 1]).permutation(first)[: settings.set_aside]
        self.set_aside: NDArray[np.intp] = np.sort(aside)
        self._training = np.setdiff1d(np.arange(len(images)), aside)

    def available(self, step: int) -> int:
        """How many images, counted from the first, step number `step` may draw from."""
        count, growth = len(self._images), self._settings.growth
        if growth is None:
            return count
        least = max(growth.first, self._settings.set_aside + 2 * self._settings.batch)
        grown = (count - least) * step / (growth.until * self._settings.steps)
        return min(count, least + max(0, int(grown)))

    def batch(self, step: int) -> Batch:
        """Batch number `step`: shuffled by epoch, flipped half of the time, mixed when mixing is on."""
        mixing, width = self._settings.mixing, self._images.width
        rng = np.random.default_rng([self._settings.seed, 2, step])
        indices = self._indices(step)
        flipped = [bool(rng.random() < 0.5) for _ in indices]
        plan = None if mixing is None else lambda areas: plan_batch(areas, width, mixing, rng)
        return Batch(step, *self._images.compose(indices, flipped, plan))

    def aside(self) -> NDArray[np.uint8]:
        """The images set aside, uint8 [set_aside, H, W, 3]; no batch holds one of them."""
        return np.stack([self._images[int(index)][0] for index in self.set_aside])

    def stream(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches `start` up to but excluding `stop`, prepared ahead in a thread."""
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

    def _indices(self, step: int) -> list[int]:
        """Numbers of the images of one batch: by epoch, or under growth at random from those available."""
        seed, batch, count = self._settings.seed, self._settings.batch, len(self._training)
        if self._settings.growth is not None:
            rng = np.random.default_rng([seed, 3, step])
            chosen = rng.choice(self.available(step) - len(self.set_aside), batch, replace=False)
            return [int(self._training[place]) for place in chosen]
        places = (divmod(position, count) for position in range(step * batch, (step + 1) * batch))
        return [int(self._training[_shuffled(seed, epoch, count)[place]]) for epoch, place in places]


@functools.lru_cache(maxsize=4)
def _shuffled(seed: int, epoch: int, count: int) -> NDArray[np.intp]:
    return np.random.default_rng([seed, 3, epoch]).permutation(count)
