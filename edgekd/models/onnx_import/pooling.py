"""Pooling and reductions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.models.onnx_import.convolution import spatial_pads
from edgekd.models.onnx_import.op import Builder, Function, Op

__all__ = ["average_pool", "global_pool", "max_pool", "reduce_over"]


def max_pool(op: Op) -> nn.Module:
    kernel, strides, dilations = _window(op)
    pads = spatial_pads(op, kernel, strides, dilations)
    if op.outputs > 1:
        raise op.refusal("gives the positions of its maxima")
    even = all(before == after for before, after in pads)
    pool = nn.MaxPool2d(
        kernel,
        strides,
        padding=(pads[0][0], pads[1][0]) if even else 0,
        dilation=dilations,
        ceil_mode=bool(op.attributes.get("ceil_mode", 0)),
    )
    return pool if even else nn.Sequential(nn.ConstantPad2d((*pads[1], *pads[0]), -torch.inf), pool)


def average_pool(op: Op) -> nn.Module:
    kernel, strides, dilations = _window(op)
    if dilations != (1, 1):
        raise op.refusal("averages with a dilation")
    pads = spatial_pads(op, kernel, strides, dilations)
    counted = bool(op.attributes.get("count_include_pad", 0))
    even = all(before == after for before, after in pads)
    if not even and not counted:
        return Function(_average_inside, kernel=kernel, strides=strides, pads=(*pads[1], *pads[0]))
    pool = nn.AvgPool2d(
        kernel,
        strides,
        padding=(pads[0][0], pads[1][0]) if even else 0,
        ceil_mode=bool(op.attributes.get("ceil_mode", 0)),
        count_include_pad=counted,
    )
    return pool if even else nn.Sequential(nn.ZeroPad2d((*pads[1], *pads[0])), pool)


def global_pool(function: Callable[..., Tensor]) -> Builder:
    """The builder of a reduction over all pixels."""
    return lambda op: Function(function, dim=tuple(range(2, len(op.data.shape))), keepdim=True)


def reduce_over(function: Callable[..., Tensor]) -> Builder:
    """The builder of a reduction over stated axes."""

    def build(op: Op) -> nn.Module:
        axes = op.integers(1, "axes")
        if not axes:
            if op.attributes.get("noop_with_empty_axes", 0):
                return nn.Identity()
            axes = tuple(range(len(op.data.shape)))
        axes = tuple(axis % len(op.data.shape) for axis in axes)
        if 0 in axes:
            raise op.refusal("reduces over the pictures of a batch")
        return Function(function, dim=axes, keepdim=bool(op.attributes.get("keepdims", 1)))

    return build


def _window(op: Op) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    kernel = op.attributes.get("kernel_shape", ())
    if len(kernel) != 2 or len(op.data.shape) != 4:
        raise op.refusal(f"pools over windows of {list(kernel)}; only two-dimensional ones can be imported")
    strides, dilations = op.attributes.get("strides", (1, 1)), op.attributes.get("dilations", (1, 1))
    return _two(kernel), _two(strides), _two(dilations)


def _two(values: tuple[int, ...]) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def _average_inside(
    x: Tensor, kernel: tuple[int, int], strides: tuple[int, int], pads: tuple[int, int, int, int]
) -> Tensor:
    """Average over the pixels of each window that lie in the picture, for pads that differ between the sides."""
    total = F.avg_pool2d(F.pad(x, pads), kernel, strides)
    inside = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), pads), kernel, strides)
    return total / inside
