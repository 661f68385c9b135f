"""Simulated images framed for a network's input, and batches composed of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekd.distill.mixing import Paste, mix_batch, object_areas
from edgekd.simulate.sample import ImageSource
from targets.input import Framing

__all__ = ["FramedImages", "Plan", "TrainingImages"]

Plan = Callable[[Sequence[NDArray[np.float64]]], Sequence[Paste]]
"""Maps the areas of each picture's objects (`mixing.object_areas`) to the pastes to make."""

_KEPT_BYTES = 3 << 30


class TrainingImages(Protocol):
    """Framed images by number, wherever they are kept."""

    width: int  # of every picture, in pixels

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Picture uint8 [H, W, 3] and instance ids uint16 [H, W] at the network's resolution."""
        ...

    def compose(self, indices: Sequence[int], flipped: Sequence[bool], plan: Plan | None) -> tuple[Tensor, Tensor]:
        """The images at `indices`, mirrored where `flipped`, and the same with objects pasted in as planned.

        Both are uint8 [N, H, W, 3] on the device where they are kept; without a plan, they are the same tensor.
        """
        ...


class FramedImages:
    """Images kept in main memory once read, as many as fit into `kept_bytes`."""

    def __init__(self, source: ImageSource, framing: Framing, kept_bytes: int = _KEPT_BYTES) -> None:
        self._source = source
        self._framing = framing
        self.width = framing.width
        per_image = framing.height * framing.width * 5
        self._room = kept_bytes // per_image
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

    def compose(self, indices: Sequence[int], flipped: Sequence[bool], plan: Plan | None) -> tuple[Tensor, Tensor]:
        """As in TrainingImages, on the CPU."""
        turns = [slice(None, None, -1) if turned else slice(None) for turned in flipped]
        images = [self[index] for index in indices]
        simulated = np.stack([picture[:, turn] for (picture, _), turn in zip(images, turns, strict=True)])
        if plan is None:
            whole = torch.from_numpy(simulated)
            return whole, whole
        pastes = plan([object_areas(identity) for _, identity in images])
        ids = np.stack([identity[:, turn] for (_, identity), turn in zip(images, turns, strict=True)])
        return torch.from_numpy(simulated), torch.from_numpy(mix_batch(simulated, ids, pastes))
