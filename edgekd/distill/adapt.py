"""Simulated pictures passed through a fitted transformation, for calibration and for measuring drift."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgekd.distill.tensors import to_pictures, to_tensor
from edgekd.distill.transform import TransformNet
from edgekd.models.weights import fill, load_weights, save_weights
from targets.input import InputSpec

__all__ = ["load_transform", "save_transform", "transformed_images"]

_ARCHITECTURE = "transform"
_BATCH = 16


@torch.no_grad()
def transformed_images(net: TransformNet, images: NDArray[np.uint8], *, seed: int) -> NDArray[np.uint8]:
    """Transform pictures uint8 [N, H, W, 3]; the noise depends on `seed`, and the shape is unchanged."""
    device = next(net.parameters()).device
    adapted = np.empty_like(images)
    for start in range(0, len(images), _BATCH):
        generator = torch.Generator(device).manual_seed(seed * 1_000_003 + start)
        chunk = slice(start, start + _BATCH)
        pictures = to_tensor(images[chunk], device)
        noise = torch.randn(pictures.shape, generator=generator, device=device)
        adapted[chunk] = to_pictures(net(pictures, noise)[0])
    return adapted


def save_transform(path: Path, net: TransformNet, spec: InputSpec) -> str:
    """Write the transformation's weights as safetensors; returns the file's sha256."""
    return save_weights(path, net, architecture=_ARCHITECTURE, input=spec)


def load_transform(path: Path) -> TransformNet:
    """Read what `save_transform` wrote. Raises FileError or ModelError for anything else."""
    net = TransformNet()
    fill(net, load_weights(path).tensors, str(path), architecture=_ARCHITECTURE)
    return net.eval()
