"""Networks that take or give something other than a teacher does, wrapped so that they serve as one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["DepthAtInputSize", "OnContiguous", "OnCopies"]


class DepthAtInputSize(nn.Module):
    """Wraps a network that outputs [N, H, W], smaller maps, a precision other than float32, or maps in a container.

    Takes the map at `place`, the keys and indices that lead to it, converts it, adds the channel and enlarges
    bilinearly.
    """

    def __init__(self, network: nn.Module, place: Sequence[Any] = ()) -> None:
        super().__init__()
        self.network, self.place = network, tuple(place)

    def forward(self, x: Tensor) -> Tensor:
        depth: Tensor = reduce(operator.getitem, self.place, self.network(x))
        if depth.dtype != x.dtype:
            depth = depth.to(x.dtype)
        if depth.ndim != 4:  # no channel; a squeeze() also drops the batch of a single picture
            depth = depth.reshape(x.shape[0], 1, *depth.shape[-2:])
        if depth.shape[-2:] != x.shape[-2:]:
            depth = F.interpolate(depth, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return depth


class OnCopies(nn.Module):
    """Wraps a network that modifies the pictures it is given, for example by normalising them in place."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        return self.network(x.clone())


class OnContiguous(nn.Module):
    """Wraps a network that takes no other memory layout than the usual one, for example because it calls .view."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        return self.network(x.contiguous())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> OnContiguous:
        """What `to` calls: a convolution's result has the layout of its weights."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for parameter in self.parameters():  # copied, as .contiguous() keeps the strides of a 1x1 kernel
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
        return self
