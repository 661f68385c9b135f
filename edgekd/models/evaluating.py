"""Helpers for running a network in evaluation mode while it is being trained."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["device_of", "evaluating", "run_once"]


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put the network into evaluation mode, and restore its own mode afterwards."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def device_of(network: nn.Module) -> torch.device:
    """The device of the network's parameters or buffers; the CPU if it has neither."""
    for tensor in itertools.chain(network.parameters(), network.buffers()):
        return tensor.device
    return torch.device("cpu")


@torch.no_grad()
def run_once(network: nn.Module, size: tuple[int, int]) -> None:
    """Run the network on a black picture of `size` (height, width) in evaluation mode, so that hooks see what runs."""
    with evaluating(network):
        network(torch.zeros(1, 3, *size, device=device_of(network)))
