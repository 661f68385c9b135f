"""Pictures as the networks want them, and back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from targets.input import InputSpec

__all__ = ["Normalise", "to_pictures", "to_tensor"]


def to_tensor(images: NDArray[np.uint8] | Tensor, device: torch.device) -> Tensor:
    """uint8 [N, H, W, 3] to float32 [N, 3, H, W] in [0, 1], planes contiguous.

    Three channels last in memory would make every operation that broadcasts over pixels ten times slower on a CPU.
    """
    if not isinstance(images, Tensor):
        images = torch.from_numpy(np.array(images))
    pixels = images.to(device, non_blocking=True)
    return pixels.permute(0, 3, 1, 2).contiguous().float() / 255


def to_pictures(tensor: Tensor) -> NDArray[np.uint8]:
    """Float [N, 3, H, W] in [0, 1] to uint8 [N, H, W, 3]."""
    return (tensor * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


class Normalise(nn.Module):
    """(x - mean) / std per channel, as the network's InputSpec says, channels last in memory for the network."""

    offset: Tensor
    scale: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        std = torch.tensor(spec.std).view(1, 3, 1, 1)
        self.register_buffer("scale", 1 / std)
        self.register_buffer("offset", -torch.tensor(spec.mean).view(1, 3, 1, 1) / std)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.offset, x, self.scale).contiguous(memory_format=torch.channels_last)
