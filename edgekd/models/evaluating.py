"""A network looked at in evaluation mode while it is being trained."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["device_of", "evaluating", "run_once"]


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, and the network's own mode again afterwards."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def device_of(network: nn.Module) -> torch.device:
    """Where the network's weights are, which may be buffers alone; the CPU for one that has none."""
    for tensor in itertools.chain(network.parameters(), network.buffers()):
        return tensor.device
    return torch.device("cpu")


@torch.no_grad()
def run_once(network: nn.Module, size: tuple[int, int]) -> None:
    """On one black picture of `size` (height, width), in evaluation mode, for hooks to see what runs."""
    with evaluating(network):
        network(torch.zeros(1, 3, *size, device=device_of(network)))
