"""Layers whose weights get their shapes from the first picture (torch's Lazy modules)."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from calibration.errors import ModelError
from targets.input import InputSpec

__all__ = ["require_weights", "shape_weights"]


def require_weights(module: nn.Module, name: str) -> None:
    """Raises ModelError where a layer never saw a picture: it has no weights to learn from."""
    waiting = _waiting(module)
    if waiting:
        raise ModelError(
            f"The weights {waiting[0]} of {name} have no shape yet: its layers are lazy and were never run",
            fix="Load trained weights in the factory, or give them as a file with --architecture",
        )


@torch.no_grad()
def shape_weights(module: nn.Module, input: InputSpec, name: str) -> None:  # noqa: A002 - the field's own name
    """Run such layers once, so that weights can be loaded into them. Raises ModelError when that fails."""
    if not _waiting(module):
        return
    module.eval()
    try:
        module(torch.zeros(1, 3, input.height, input.width))
    except Exception as error:  # the user's code may raise anything
        raise ModelError(
            f"{name} cannot be run on [1, 3, {input.height}, {input.width}], which its lazy layers need ({error})",
            fix="Check its input: three channels, and the resolution it was made for",
        ) from error
    require_weights(module, name)


def _waiting(module: nn.Module) -> list[str]:
    tensors = itertools.chain(module.named_parameters(), module.named_buffers())
    return [name for name, tensor in tensors if is_lazy(tensor)]
