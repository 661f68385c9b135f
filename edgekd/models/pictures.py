"""Seeded test pictures for examining networks, and the normalisation in front of every network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from targets.input import InputSpec

__all__ = ["NormalisePictures", "probe_pictures"]


class NormalisePictures(nn.Module):
    """uint8 RGB [N, H, W, 3] to normalised float32 [N, 3, H, W], by one multiplication and at most one addition."""

    def __init__(self, input: InputSpec) -> None:  # noqa: A002 - the field's own name
        super().__init__()
        mean, std = np.array(input.mean), np.array(input.std)
        self.register_buffer("scale", torch.tensor(1 / (255 * std), dtype=torch.float32).view(1, 3, 1, 1))
        shift = torch.tensor(-mean / std, dtype=torch.float32).view(1, 3, 1, 1) if mean.any() else None
        self.register_buffer("shift", shift)

    def forward(self, images: Tensor) -> Tensor:
        # Cast first: TensorRT accepts uint8 as an input, but can only cast it.
        x = images.float().permute(0, 3, 1, 2) * self.get_buffer("scale")
        return x if self.shift is None else x + self.get_buffer("shift")


def probe_pictures(height: int, width: int, count: int) -> NDArray[np.uint8]:
    """Pictures uint8 [count, height, width, 3], smooth colours with some grain, the same for the same arguments.

    They show nothing, but are easier for a network to handle than pure noise.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 6, 8, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    grain = 0.05 * torch.randn(count, 3, height, width, generator=generator)
    pictures = ((smooth + grain).clamp(0, 1) * 255).round().to(torch.uint8)
    return pictures.permute(0, 2, 3, 1).contiguous().numpy()
