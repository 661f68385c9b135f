"""Pooling and reductions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.models.onnx_import.convolution import Pads, spatial_pads
from edgekd.models.onnx_import.op import Builder, Function, Op

__all__ = ["average_pool", "euclidean", "global_pool", "max_pool", "reduce_over"]


def max_pool(op: Op) -> nn.Module:
    kernel, strides, dilations = _window(op)
    pads = spatial_pads(op, kernel, strides, dilations)
    if op.outputs > 1:
        raise op.refusal("outputs the indices of its maxima")
    even = all(before == after for before, after in pads)
    pool = nn.MaxPool2d(
        kernel,
        strides,
        padding=(pads[0][0], pads[1][0]) if even else 0,
        dilation=dilations,
        ceil_mode=bool(op.attributes.get("ceil_mode", 0)),
    )
    if even:
        return pool
    sides = (*pads[1], *pads[0])
    # A window without gaps that reaches beyond the edge contains the edge itself, so repeating it changes no maximum.
    # Unlike the -infinity that ONNX specifies, it leaves a finite range to quantise.
    repeats = dilations == (1, 1) and all(max(pad) < size for pad, size in zip(pads, kernel, strict=True))
    return _padded(op, nn.ReplicationPad2d(sides) if repeats else nn.ConstantPad2d(sides, -torch.inf), pool, pads)


def average_pool(op: Op) -> nn.Module:
    kernel, strides, dilations = _window(op)
    if dilations != (1, 1):
        raise op.refusal("averages with dilation")
    pads = spatial_pads(op, kernel, strides, dilations)
    counted = bool(op.attributes.get("count_include_pad", 0))
    even = all(before == after for before, after in pads)
    ceil = bool(op.attributes.get("ceil_mode", 0))
    if not even and not counted:
        inside = Function(_average_inside, kernel=kernel, strides=strides, pads=(*pads[1], *pads[0]), ceil=ceil)
        return _padded(op, inside, None, pads)
    pool = nn.AvgPool2d(
        kernel,
        strides,
        padding=(pads[0][0], pads[1][0]) if even else 0,
        ceil_mode=ceil,
        count_include_pad=counted,
    )
    return pool if even else _padded(op, nn.ZeroPad2d((*pads[1], *pads[0])), pool, pads)


def global_pool(function: Callable[..., Tensor]) -> Builder:
    """The builder of a reduction over all pixels."""
    return lambda op: Function(function, dim=tuple(range(2, len(op.data.shape))), keepdim=True)


def reduce_over(function: Callable[..., Tensor]) -> Builder:
    """The builder of a reduction over given axes."""

    def build(op: Op) -> nn.Module:
        axes = op.integers(1, "axes")
        if not axes:
            if op.attributes.get("noop_with_empty_axes", 0):
                return nn.Identity()
            axes = tuple(range(len(op.data.shape)))
        axes = tuple(axis % len(op.data.shape) for axis in axes)
        if op.batch in axes:
            raise op.refusal("reduces across the pictures of a batch")
        return Function(function, dim=axes, keepdim=bool(op.attributes.get("keepdims", 1)))

    return build


def euclidean(x: Tensor, dim: tuple[int, ...], keepdim: bool) -> Tensor:
    """The root of the sum of squares."""
    length: Tensor = torch.linalg.vector_norm(x, dim=dim, keepdim=keepdim)
    return length


def _window(op: Op) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    kernel = op.attributes.get("kernel_shape", ())
    if len(kernel) != 2 or len(op.data.shape) != 4:
        raise op.refusal(f"pools over windows of {list(kernel)}; only two-dimensional windows are supported")
    strides, dilations = op.attributes.get("strides", (1, 1)), op.attributes.get("dilations", (1, 1))
    return _two(kernel), _two(strides), _two(dilations)


def _padded(op: Op, first: nn.Module, second: nn.Module | None, pads: Pads) -> nn.Module:
    """`first`, then `second`, without the windows that ceil_mode adds and that begin beyond the picture.

    torch drops these when it pads itself, but cannot tell explicit padding from the picture.
    """
    layers = [first] if second is None else [first, second]
    if op.attributes.get("ceil_mode", 0):
        kernel, strides, dilations = _window(op)
        size, cut = [], False
        for axis, (before, after) in enumerate(pads):
            length, reach = op.data.shape[2 + axis], (kernel[axis] - 1) * dilations[axis] + 1
            windows = -(-(length + before + after - reach) // strides[axis]) + 1
            behind = (windows - 1) * strides[axis] >= length + before
            size.append(windows - behind)
            cut = cut or behind
        if cut:
            layers.append(Function(_first_windows, height=size[0], width=size[1]))
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def _first_windows(x: Tensor, height: int, width: int) -> Tensor:
    return x[..., :height, :width]


def _two(values: tuple[int, ...]) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def _average_inside(
    x: Tensor, kernel: tuple[int, int], strides: tuple[int, int], pads: tuple[int, int, int, int], ceil: bool
) -> Tensor:
    """Average over the pixels of each window that lie in the picture, for asymmetric pads."""
    total = F.avg_pool2d(F.pad(x, pads), kernel, strides, ceil_mode=ceil)
    inside = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), pads), kernel, strides, ceil_mode=ceil)
    return total / inside
