"""Handles layers without weights: torch's Lazy modules before the first picture, and those on the meta device."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from calibration.errors import ModelError
from targets.input import InputSpec

__all__ = ["allocate_weights", "require_weights", "shape_weights"]


_FIX = "Load trained weights in the factory, or pass them as a file with --architecture"


def require_weights(module: nn.Module, name: str) -> None:
    """Raise ModelError if a layer was never run or is on the meta device, so that it has nothing to teach."""
    waiting = _waiting(module)
    if waiting:
        raise ModelError(
            f"The weights {waiting[0]} of {name} have no shape yet: its layers are lazy and were never run",
            fix=_FIX,
        )
    empty = [key for key, tensor in _tensors(module) if tensor.is_meta]
    if empty:
        raise ModelError(f"The weights {empty[0]} of {name} have no data: they are on the meta device", fix=_FIX)


def allocate_weights(module: nn.Module, name: str) -> None:
    """Allocate memory for tensors on the meta device, so that a file can be loaded into them.

    Raises ModelError for a buffer that is not saved with the weights.
    """
    stored = module.state_dict().keys()
    for prefix, layer in module.named_modules():
        for key, tensor in [*layer._parameters.items(), *layer._buffers.items()]:
            if tensor is None or not tensor.is_meta:
                continue
            if (whole := f"{prefix}.{key}" if prefix else key) not in stored:
                raise ModelError(
                    f"The buffer {whole} of {name} is on the meta device and is not saved with the weights",
                    fix="Build the network on the CPU",
                )
            empty = torch.zeros_like(tensor, device="cpu")
            if key in layer._parameters:
                layer._parameters[key] = nn.Parameter(empty, tensor.requires_grad)
            else:
                layer._buffers[key] = empty


@torch.no_grad()
def shape_weights(module: nn.Module, input: InputSpec, name: str) -> None:  # noqa: A002 - the field's own name
    """Run lazy layers once, so that weights can be loaded into them. Raises ModelError when that fails."""
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
    return [name for name, tensor in _tensors(module) if is_lazy(tensor)]


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return itertools.chain(module.named_parameters(), module.named_buffers())
