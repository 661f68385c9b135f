"""How far features are from others, with a gradient that costs one pass over memory.

Comparing the features of every layer is bound by memory, like observing a teacher (statistics.py). PyTorch's own
operations make planes of channels that are picked out of channels-last memory; the difference, its gradient and the
BatchNorm backward that it goes into then mix two layouts, which takes longer than the rest of a step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["pick_channels", "with_difference"]


def pick_channels(features: Tensor, channels: Tensor) -> Tensor:
    """A copy of some channels [M] of features [N, C, H, W], in the memory format that the features have."""
    if features.is_contiguous():
        return features.index_select(1, channels)
    pixels = features.permute(0, 2, 3, 1)  # as they lie in channels-last memory
    picked = pixels.flatten(0, 2).index_select(1, channels)
    return picked.view(*pixels.shape[:3], -1).permute(0, 3, 1, 2)


def with_difference(mine: Tensor, theirs: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """`mine` [N, C, H, W], to be gone on with in its place, and the mean of (scale [C, 1, 1] * (mine - theirs))^2.

    One autograd node, which adds the difference's gradient to that of what comes after in one pass. The mean is
    in float32 also where the features are in half precision. `theirs`, which has no gradient, is overwritten.
    """
    output: tuple[Tensor, Tensor] = _WithDifference.apply(mine, theirs, scale)  # type: ignore[no-untyped-call]
    return output


class _WithDifference(torch.autograd.Function):
    """With apart = scale * (theirs - mine), the mean is |apart|^2 / n and its gradient -2 scale * apart / n."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, theirs: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.mark_dirty(mine)  # not changed, but given out itself and not as a view: what follows may work in place
        apart = theirs.to(torch.promote_types(mine.dtype, torch.float32)).sub_(mine).mul_(scale)
        # Not by save_for_backward: where the network is checkpointed, what it saves is asked of a second run, and then
        # nothing is compared.
        ctx.apart, ctx.scale = apart, scale
        ctx.dtype = mine.dtype
        # Row by row: over millions of values at once a norm in float32 is off by a thousandth.
        return mine, torch.linalg.vector_norm(apart, dim=(1, 3)).square().sum() / apart.numel()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None, None]:
        onwards, outer = gradients
        if outer is None:
            return onwards, None, None
        apart, scale = ctx.apart, ctx.scale
        factor = scale * (outer * (-2 / apart.numel()))
        if onwards is None:  # nothing comes after
            return (apart * factor).to(ctx.dtype), None, None
        return torch.addcmul(onwards, apart, factor).to(ctx.dtype), None, None
