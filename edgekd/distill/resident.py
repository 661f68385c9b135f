"""Simulated images that stay on the training device: batches are composed there, without transfers.

A batch is bit for bit the same as one composed in main memory (framed_images.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekd.distill.framed_images import FramedImages, Plan, TrainingImages
from edgekd.distill.mixing import Paste, object_areas
from edgekd.simulate.sample import ImageSource
from targets.input import Framing

__all__ = ["ResidentImages", "training_images"]

_SHARE = 0.25  # of a GPU's free memory that images may take
_BYTES_PER_PIXEL = 3 + 4  # a picture and int32 ids: torch cannot index uint16


def training_images(source: ImageSource, framing: Framing, device: torch.device) -> TrainingImages:
    """Images kept on a GPU if they fit into a quarter of its free memory, and in main memory otherwise."""
    if device.type == "cuda":
        # By number: torch 2.4 does not take "cuda" without one here.
        free, _ = torch.cuda.mem_get_info(torch.cuda.current_device() if device.index is None else device.index)
        if len(source) * framing.height * framing.width * _BYTES_PER_PIXEL <= _SHARE * free:
            return ResidentImages(source, framing, device)
    return FramedImages(source, framing)


class ResidentImages:
    """Images that are copied to `device` when a batch first needs them, and stay there."""

    def __init__(self, source: ImageSource, framing: Framing, device: torch.device) -> None:
        self._framed = FramedImages(source, framing, kept_bytes=0)
        self._device = device
        self.width = framing.width
        size = len(source), framing.height, framing.width
        self._pictures = torch.empty((*size, 3), dtype=torch.uint8, device=device)
        self._ids = torch.empty(size, dtype=torch.int32, device=device)
        self._areas: dict[int, NDArray[np.float64]] = {}  # of the images copied so far

    def __len__(self) -> int:
        return len(self._framed)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Picture uint8 [H, W, 3] and instance ids uint16 [H, W], read again: they are not kept here."""
        return self._framed[index]

    def compose(self, indices: Sequence[int], flipped: Sequence[bool], plan: Plan | None) -> tuple[Tensor, Tensor]:
        """As in TrainingImages, on the device."""
        for index in indices:
            self._bring(index)
        chosen = torch.tensor(indices, device=self._device)
        turned = torch.tensor(flipped, device=self._device).view(-1, 1, 1)
        pictures = self._pictures.index_select(0, chosen)
        simulated = torch.where(turned.unsqueeze(3), pictures.flip(2), pictures)
        if plan is None:
            return simulated, simulated
        pastes = plan([self._areas[index] for index in indices])
        ids = self._ids.index_select(0, chosen)
        return simulated, _mix(simulated, torch.where(turned, ids.flip(2), ids), pastes)

    def _bring(self, index: int) -> None:
        if index in self._areas:
            return
        picture, ids = self._framed[index]
        self._pictures[index] = torch.from_numpy(np.array(picture))
        self._ids[index] = torch.from_numpy(ids.astype(np.int32))
        self._areas[index] = object_areas(ids)


def _mix(images: Tensor, ids: Tensor, pastes: Sequence[Paste]) -> Tensor:
    """`mixing.mix_batch` on the device. (Indexing with a mask would make the CPU wait for the GPU.)"""
    mixed = images.clone()
    for paste in pastes:
        taken, given = paste.columns(images.shape[2])
        mask = (ids[paste.giver, :, taken] == paste.object_id).unsqueeze(2)
        target = mixed[paste.receiver, :, given]
        target.copy_(torch.where(mask, images[paste.giver, :, taken], target))
    return mixed
