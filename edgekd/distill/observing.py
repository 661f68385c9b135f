"""A teacher that tells the statistics it sees.

This must be cheap: the step is memory-bound. `observe` swaps each BatchNorm of a copy of the teacher for one that gives
its output and the moments of its input in one autograd node, with a single fused backward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from calibration.errors import ModelError
from edgekd.distill.moments import Moments, channel_moments
from edgekd.models.batch_norm import is_plain, stored_by

__all__ = ["ObservedTeacher", "observe"]


def observe(module: nn.Module, names: Sequence[str], runs: int | None = None) -> ObservedTeacher:
    """A copy of a frozen network that can be observed at the inputs of the named layers.

    `runs` is how often these layers run on a picture in total: after that, no gradient is kept. None keeps all.
    """
    module = copy.deepcopy(module)
    layers: dict[str, _ObservedBatchNorm | _Tap] = {}
    observed: dict[nn.Module | None, _ObservedBatchNorm] = {}  # by the layer it replaces
    for name in names:
        layer = module.get_submodule(name)
        if isinstance(layer, nn.BatchNorm2d) and is_plain(layer) and layer.running_mean is not None:
            layers[name] = observed[layer] = _ObservedBatchNorm(layer)
        else:
            layers[name] = _Tap(layer)
    for parent in list(module.modules()):
        for child, held in list(parent._modules.items()):  # under every name: named_children gives only one
            if held in observed:
                setattr(parent, child, observed[held])
    return ObservedTeacher(module, layers, runs)


class ObservedTeacher(nn.Module):
    """A teacher that returns, with the depth, the moments of the inputs of its observed layers.

    What follows after `runs` runs of these layers has no gradient: the moments do not depend on it, and keeping what
    its backward pass would need takes memory and time.
    """

    def __init__(
        self, module: nn.Module, layers: Mapping[str, _ObservedBatchNorm | _Tap], runs: int | None = None
    ) -> None:
        super().__init__()
        self.module = module
        self.sizes: tuple[int, ...] = ()  # channels of each layer, once it has run
        self._layers = dict(layers)
        self._runs = runs
        self._ran = 0
        if runs is not None:
            for name in layers:
                module.get_submodule(name).register_forward_hook(self._after_layer)

    def forward(self, x: Tensor) -> tuple[Tensor, Moments]:
        """Depth [N, 1, H, W] in metres of normalised RGB [N, 3, H, W], and the moments in the order of the layers."""
        self._ran = 0
        for layer in self._layers.values():
            layer.seen = []  # activation checkpointing fills it again in the backward pass
        with torch.set_grad_enabled(torch.is_grad_enabled()):  # restores what _after_layer switches off
            depth = self.module(x)
        means, variances = [], []
        for name, layer in self._layers.items():
            if not layer.seen:
                raise ModelError(f"The layer {name} of the teacher never ran", fix="Remove the unused layer")
            seen, layer.seen = _over_runs(layer.seen), []
            if layer.cut_off and torch.is_grad_enabled():
                raise ModelError(
                    f"The teacher runs its layer {name} without gradients, so no transformation can be fitted to it",
                    fix="Remove torch.no_grad and checkpoint(..., use_reentrant=True) from its forward, or pass"
                    " --no-transformation",
                )
            means.append(seen.mean)
            variances.append(seen.variance)
        self.sizes = tuple(len(mean) for mean in means)
        return depth, Moments(torch.cat(means), torch.cat(variances))

    def _after_layer(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._ran += 1
        if self._ran == self._runs:
            torch.set_grad_enabled(False)


class _ObservedBatchNorm(nn.Module):
    """A frozen BatchNorm that adds the moments of its input to `seen` at each run."""

    scale: Tensor
    shift: Tensor

    def __init__(self, layer: nn.BatchNorm2d) -> None:
        super().__init__()
        mean, variance = stored_by(layer)
        weight = torch.ones_like(mean) if layer.weight is None else layer.weight.detach()
        bias = torch.zeros_like(mean) if layer.bias is None else layer.bias.detach()
        scale = weight / (variance + layer.eps).sqrt()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", bias - scale * mean)
        self.seen: list[Moments] = []
        self.cut_off = False  # whether it ran without gradients

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - BatchNorm2d's own name, by which it may be called
        output: tuple[Tensor, Tensor, Tensor] = _AffineWithMoments.apply(input, self.scale, self.shift)  # type: ignore[no-untyped-call]
        self.seen.append(Moments(output[1], output[2]))
        self.cut_off = not torch.is_grad_enabled()
        return output[0]


class _AffineWithMoments(torch.autograd.Function):
    """y = scale * x + shift and the channel moments of x [N, C, H, W].

    dx = scale * dy + c1 * x + c0 with c1 = 2 dvar / n and c0 = dmean / n - c1 * mean. PyTorch's own evaluation-mode
    BatchNorm backward takes five times as long on a CPU in channels_last.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = channel_moments(x)
        ctx.save_for_backward(x, mean, scale)
        per_channel = (1, -1, 1, 1)
        return torch.addcmul(shift.view(per_channel), x, scale.view(per_channel)), mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        output, mean_gradient, variance_gradient = gradients
        x, mean, scale = ctx.saved_tensors
        count = x.numel() // x.shape[1]
        slope = 2 * variance_gradient / count
        offset = mean_gradient / count - slope * mean
        per_channel = (1, -1, 1, 1)
        gradient = torch.addcmul(offset.view(per_channel).to(x.dtype), x, slope.view(per_channel).to(x.dtype)).addcmul_(
            output, scale.view(per_channel).to(x.dtype)
        )
        return gradient, None, None


class _Tap:
    """Adds the moments of any other layer's input to `seen` at each run."""

    def __init__(self, layer: nn.Module) -> None:
        self.seen: list[Moments] = []
        self.cut_off = False  # whether it ran without gradients
        layer.register_forward_pre_hook(self._look, with_kwargs=True)

    def _look(self, module: nn.Module, inputs: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> None:
        x = inputs[0] if inputs else next(iter(named.values()))
        channels = _channel_axis(module, x)
        rest = [axis for axis in range(x.ndim) if axis != channels]
        variance, mean = torch.var_mean(x.float(), dim=rest, correction=0)
        self.seen.append(Moments(mean, variance))
        self.cut_off = not torch.is_grad_enabled()


def _channel_axis(layer: nn.Module, x: Tensor) -> int:
    """The last for Linear and LayerNorm, except a LayerNorm subclass that takes [N, C, H, W]; otherwise the second."""
    if isinstance(layer, nn.LayerNorm):
        if getattr(layer, "data_format", None) == "channels_last":  # as in ConvNeXt
            return x.ndim - 1
        planes = type(layer).forward is not nn.LayerNorm.forward and x.ndim == 4
        return 1 if planes and x.shape[1] == layer.normalized_shape[-1] else x.ndim - 1
    return x.ndim - 1 if isinstance(layer, nn.Linear) else 1


def _over_runs(seen: Sequence[Moments]) -> Moments:
    """The mean over the runs of a layer that runs several times, which is what BatchNorm stored for it."""
    if len(seen) == 1:
        return seen[0]
    mean, variance = torch.stack([run.mean for run in seen]), torch.stack([run.variance for run in seen])
    return Moments(mean.mean(0), variance.mean(0))
