"""The distance between two sets of features, with a gradient that costs one pass over memory.

Comparing the features of every layer is memory-bound, like observing a teacher (observing.py). PyTorch's own
operations turn channels picked from channels-last memory into planes. The difference, its gradient and the BatchNorm
backward pass that follows then mix two layouts, which takes longer than the rest of a step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["pick_channels", "with_difference"]


def pick_channels(features: Tensor, channels: Tensor) -> Tensor:
    """Copy some channels [M] of features [N, C, H, W], keeping the memory format."""
    if features.is_contiguous():
        return features.index_select(1, channels)
    pixels = features.permute(0, 2, 3, 1)  # their order in channels-last memory
    picked = pixels.flatten(0, 2).index_select(1, channels)
    return picked.view(*pixels.shape[:3], -1).permute(0, 3, 1, 2)


def with_difference(mine: Tensor, theirs: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return `mine` [N, C, H, W], to be used in its place, and the mean of (scale [C, 1, 1] * (mine - theirs))^2.

    One autograd node adds the gradient of the difference to that of the following layers in a single pass. The mean is
    in float32 even for features in half precision. `theirs`, which has no gradient, may be overwritten.
    """
    output: tuple[Tensor, Tensor] = _WithDifference.apply(mine, theirs, scale)  # type: ignore[no-untyped-call]
    return output


class _WithDifference(torch.autograd.Function):
    """With apart = scale * (theirs - mine), the mean is |apart|^2 / n and its gradient -2 scale * apart / n."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, theirs: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.mark_dirty(mine)  # unchanged, but returned itself and not as a view: what follows may work in place
        apart = theirs.to(torch.promote_types(mine.dtype, torch.float32)).sub_(mine).mul_(scale)
        # Not save_for_backward: under activation checkpointing its tensors come from a second run, which compares
        # nothing.
        ctx.apart, ctx.scale = apart, scale
        ctx.dtype = mine.dtype
        # Row by row: a float32 norm over millions of values at once is off by a thousandth.
        return mine, torch.linalg.vector_norm(apart, dim=(1, 3)).square().sum() / apart.numel()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None, None]:
        onwards, outer = gradients
        if outer is None:
            return onwards, None, None
        apart, scale = ctx.apart, ctx.scale
        factor = scale * (outer * (-2 / apart.numel()))
        if onwards is None:  # nothing follows
            return (apart * factor).to(ctx.dtype), None, None
        return torch.addcmul(onwards, apart, factor).to(ctx.dtype), None, None
