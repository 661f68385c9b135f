"""In which order the layers of a network run, which need not be the order in which its class defines them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from targets.input import InputSpec

__all__ = ["running_order"]


@torch.no_grad()
def running_order(module: nn.Module, names: Sequence[str], input: InputSpec) -> list[str]:  # noqa: A002
    """Those of the named layers that run on a picture, in the order in which they first do; in evaluation mode."""
    layers = {module.get_submodule(name): name for name in names}
    ran: dict[nn.Module, None] = {}
    handles = [layer.register_forward_hook(lambda layer, *_: ran.setdefault(layer)) for layer in layers]
    training, device = module.training, next(module.parameters()).device
    try:
        module.eval()(torch.zeros(1, 3, input.height, input.width, device=device))
    finally:
        module.train(training)
        for handle in handles:
            handle.remove()
    return [layers[layer] for layer in ran]
