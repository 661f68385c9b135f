"""BatchNorm over the whole batch of several processes, while they train together.

torch's SyncBatchNorm needs a GPU; this one also works over gloo on CPUs. A layer is converted and converted back in
place, and keeps its name and weights.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from calibration.errors import ModelError
from edgekd.distill.ranks import sum_over_processes
from edgekd.models.batch_norm import is_plain

__all__ = ["share_norms", "unshare_norms"]


_OWN_CLASS = "own_class"  # of a layer that is shared: what it was before


class _SharedBatchNorm2d(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        count = torch.distributed.get_world_size()
        dtype, x = x.dtype, x.float()
        # In two steps: E[x^2] - E[x]^2 would cancel where a mean is far larger than the deviation.
        own_variance, own_mean = torch.var_mean(x, (0, 2, 3), correction=0)
        mean: Tensor = _Mean.apply(own_mean, count)  # type: ignore[no-untyped-call]
        variance: Tensor = _Mean.apply(own_variance + (own_mean - mean).square(), count)  # type: ignore[no-untyped-call]
        if self.running_mean is not None and self.running_var is not None and self.momentum is not None:
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
            size = x.numel() // x.shape[1] * count
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(variance.detach() * size / (size - 1), self.momentum)
        scale = (variance + self.eps).rsqrt()
        shift = -mean * scale
        if self.weight is not None:
            scale, shift = scale * self.weight, shift * self.weight + self.bias
        return torch.addcmul(_plane(shift), x, _plane(scale)).to(dtype)


class _Mean(torch.autograd.Function):
    """The mean over processes, forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int) -> Tensor:
        ctx.count = count
        return _mean(x, count)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _mean(gradients[0], ctx.count), None


def share_norms(network: nn.Module) -> None:
    """Make the BatchNorm layers of `network` normalise over all processes in training mode.

    Raises ModelError for a subclass of BatchNorm2d that does more.
    """
    for layer in network.modules():
        if not isinstance(layer, nn.BatchNorm2d) or type(layer) is _SharedBatchNorm2d:
            continue
        if is_plain(layer):
            layer.__dict__[_OWN_CLASS] = type(layer)
            layer.__class__ = _SharedBatchNorm2d
        else:
            raise ModelError(
                f"A BatchNorm of class {type(layer).__name__} cannot be shared among processes",
                fix="Distil in one process, or choose a student that is not cut from its teacher",
            )


def unshare_norms(network: nn.Module) -> None:
    """Turn the layers back into what they were."""
    for layer in network.modules():
        if type(layer) is _SharedBatchNorm2d:
            layer.__class__ = layer.__dict__.pop(_OWN_CLASS)


def _mean(x: Tensor, count: int) -> Tensor:
    x = x.contiguous().clone()
    sum_over_processes(x)
    return x / count


def _plane(channels: Tensor) -> Tensor:
    return channels.view(1, -1, 1, 1)
