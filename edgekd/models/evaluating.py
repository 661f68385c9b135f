"""A network looked at in evaluation mode while it is being trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

__all__ = ["evaluating"]


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, and the network's own mode again afterwards."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
