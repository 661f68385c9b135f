"""Conv, ConvTranspose and the normalisations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekd.models.batch_norm import EXPORT_KEEPING_NORMS
from edgekd.models.onnx_import.op import Op

__all__ = ["Pads", "batch_norm", "conv", "conv_transpose", "instance_norm", "layer_norm", "spatial_pads"]

Pads = tuple[tuple[int, int], tuple[int, int]]
"""(before, after) of the height, then of the width."""


def conv(op: Op) -> nn.Module:
    weight = op.weights(1)
    if weight.ndim == len(op.data.shape) == 3:
        return _conv_of_sequences(op, weight)
    if weight.ndim != 4 or len(op.data.shape) != 4:
        raise op.refusal(f"convolves weights {list(weight.shape)}; only one and two dimensions are supported")
    kernel = (int(weight.shape[2]), int(weight.shape[3]))
    strides, dilations = _pair(op, "strides"), _pair(op, "dilations")
    pads = spatial_pads(op, kernel, strides, dilations)
    groups = int(op.attributes.get("group", 1))
    even = all(before == after for before, after in pads)
    layer = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        kernel,
        stride=strides,
        padding=(pads[0][0], pads[1][0]) if even else 0,
        dilation=dilations,
        groups=groups,
        bias=op.constant(2) is not None,
    )
    _set(layer, op)
    return layer if even else nn.Sequential(nn.ZeroPad2d((*pads[1], *pads[0])), layer)


def _conv_of_sequences(op: Op, weight: Tensor) -> nn.Module:
    """In one dimension, as over the channels in efficient channel attention (Wang et al., ECA-Net, CVPR 2020)."""
    before, after = op.attributes.get("pads", (0, 0))
    if before != after or op.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise op.refusal("pads a sequence unevenly or automatically")
    groups = int(op.attributes.get("group", 1))
    layer = nn.Conv1d(
        weight.shape[1] * groups,
        weight.shape[0],
        weight.shape[2],
        stride=op.attributes.get("strides", (1,))[0],
        padding=before,
        dilation=op.attributes.get("dilations", (1,))[0],
        groups=groups,
        bias=op.constant(2) is not None,
    )
    _set(layer, op)
    return layer


def conv_transpose(op: Op) -> nn.Module:
    weight = op.weights(1)
    if weight.ndim != 4 or op.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise op.refusal("is transposed with automatic padding or not two-dimensional")
    if op.attributes.get("output_shape"):
        raise op.refusal("has an output_shape instead of pads")
    pads = _stated_pads(op)
    groups = int(op.attributes.get("group", 1))
    smaller = (min(pads[0]), min(pads[1]))
    layer = nn.ConvTranspose2d(
        weight.shape[0],
        weight.shape[1] * groups,
        (int(weight.shape[2]), int(weight.shape[3])),
        stride=_pair(op, "strides"),
        padding=smaller,
        output_padding=_pair(op, "output_padding", default=0),
        dilation=_pair(op, "dilations"),
        groups=groups,
        bias=op.constant(2) is not None,
    )
    _set(layer, op)
    surplus = [least - pad for least, axis in zip(smaller[::-1], pads[::-1], strict=True) for pad in axis]
    return nn.Sequential(layer, nn.ZeroPad2d(tuple(surplus))) if any(surplus) else layer  # type: ignore[arg-type]


def batch_norm(op: Op) -> nn.Module:
    """A BatchNorm layer with the stored statistics, which L_BN is measured against."""
    if op.attributes.get("training_mode", 0):
        raise op.refusal(
            "was exported in training mode: it normalises by the batch, not by stored statistics",
            fix=f"Export it again with {EXPORT_KEEPING_NORMS}",
        )
    scale, bias, mean, variance = (op.weights(position) for position in (1, 2, 3, 4))
    kind = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(len(op.data.shape), nn.BatchNorm1d)
    layer = kind(
        len(scale),
        eps=float(op.attributes.get("epsilon", 1e-5)),
        momentum=1 - float(op.attributes.get("momentum", 0.9)),
    )
    assert layer.running_mean is not None and layer.running_var is not None
    with torch.no_grad():
        layer.weight.copy_(scale)
        layer.bias.copy_(bias)
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)
    return layer


def instance_norm(op: Op) -> nn.Module:
    kind = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d}.get(len(op.data.shape))
    if kind is None:
        raise op.refusal("normalises something other than pictures")
    scale, bias = op.weights(1), op.weights(2)
    layer = kind(len(scale), eps=float(op.attributes.get("epsilon", 1e-5)), affine=True)
    with torch.no_grad():
        layer.weight.copy_(scale)
        layer.bias.copy_(bias)
    return layer


def layer_norm(op: Op) -> nn.Module:
    axis = int(op.attributes.get("axis", -1)) % len(op.data.shape)
    if axis == 0 or op.outputs > 1:
        raise op.refusal("normalises across a batch" if axis == 0 else "outputs the means that it subtracts")
    shape = op.data.shape[axis:]
    layer = nn.LayerNorm(shape, eps=float(op.attributes.get("epsilon", 1e-5)), bias=op.constant(2) is not None)
    with torch.no_grad():
        layer.weight.copy_(op.weights(1).expand(shape))
        if op.constant(2) is not None:
            layer.bias.copy_(op.weights(2).expand(shape))
    return layer


def spatial_pads(op: Op, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int]) -> Pads:
    """The pads of a convolution or pooling; those of auto_pad are computed for the input's size."""
    auto = op.attributes.get("auto_pad", "NOTSET")
    if auto == "NOTSET":
        return _stated_pads(op)
    if auto == "VALID":
        return ((0, 0), (0, 0))
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise op.refusal(f"has the unknown padding {auto}")
    axes = []
    for axis, size in enumerate(op.data.shape[2:]):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        total = max(0, (-(-size // strides[axis]) - 1) * strides[axis] + reach - size)
        less, more = total // 2, total - total // 2
        axes.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return (axes[0], axes[1])


def _stated_pads(op: Op) -> Pads:
    top, left, bottom, right = op.attributes.get("pads", (0, 0, 0, 0))
    return ((int(top), int(bottom)), (int(left), int(right)))


def _pair(op: Op, name: str, default: int = 1) -> tuple[int, int]:
    first, second = op.attributes.get(name, (default, default))
    return int(first), int(second)


def _set(layer: nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d, op: Op) -> None:
    with torch.no_grad():
        layer.weight.copy_(op.weights(1))
        if layer.bias is not None:
            layer.bias.copy_(op.weights(2))
