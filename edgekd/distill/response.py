"""How a camera responds to light: tone curve, sensor noise and clipping, with a gradient in few passes over memory.

PyTorch's own operations take three times as many passes for the same gradient. The transformation has few parameters
and full resolution, so its update consists of little else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["camera_response"]

_THROUGH = 0.1  # share of the gradient that passes through a clipped pixel


def camera_response(light: Tensor, bend: Tensor, twist: Tensor, noise: Tensor | None, level: Tensor) -> Tensor:
    """RGB in [0, 1] for the light that falls on the sensor, both [N, 3, H, W].

    The tone curve is a cubic through (0, 0) and (1, 1), y + y (1 - y) (bend + twist (1 - 2 y)), with `bend` and `twist`
    [N, 3]. `level` [3] is the deviation of the `noise` that is added, which is [N, 3, H, W] and normally distributed.
    A tenth of the gradient passes through clipped pixels; otherwise they could never come back.
    """
    response: Tensor = _Response.apply(light, bend, twist, noise, level)  # type: ignore[no-untyped-call]
    return response


class _Response(torch.autograd.Function):
    """With p = y - y^2 the slope of the curve is 1 + bend (1 - 2 y) + twist (1 - 6 p)."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, bend: Tensor, twist: Tensor, noise: Tensor | None, level: Tensor) -> Tensor:
        bends, twists = bend[:, :, None, None], twist[:, :, None, None]
        parabola = y - y * y
        toned = torch.addcmul(y, parabola, torch.addcmul(bends + twists, twists, y, value=-2))
        if noise is not None:
            toned = torch.addcmul(toned, noise, level.view(1, 3, 1, 1))
        clipped = toned.clamp(0, 1)
        ctx.save_for_backward(y, parabola, clipped == toned, noise, bend, twist)
        return clipped

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, Tensor]:
        y, parabola, inside, noise, bend, twist = ctx.saved_tensors
        gradient = torch.where(inside, gradients[0], _THROUGH * gradients[0])
        bends, twists = bend[:, :, None, None], twist[:, :, None, None]
        by_parabola = gradient * parabola
        bend_gradient = by_parabola.sum((2, 3))
        twist_gradient = bend_gradient - 2 * _dot(by_parabola, y)
        level_gradient = torch.zeros_like(bend[0]) if noise is None else _dot(gradient, noise).sum(0)
        onwards = torch.addcmul(1 + bends + twists, bends, y, value=-2).mul_(gradient)
        onwards = onwards.addcmul_(by_parabola, twists, value=-6)
        return onwards, bend_gradient, twist_gradient, None, level_gradient


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The sum over space of products, [N, C]."""
    products: Tensor = torch.linalg.vecdot(a.flatten(2), b.flatten(2))
    return products
