"""The statistics that a frozen teacher stored and those it sees, and how far apart they are.

Observing a teacher must be cheap: the step is memory-bound. `observe` swaps each BatchNorm of a copy of the teacher for
one that gives its output and the moments of its input in one autograd node, with a single fused backward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from calibration.errors import ModelError
from calibration.files import sha256_bytes
from edgekd.models.checks import NO_SPREAD, batch_norm_layers, is_plain

__all__ = [
    "Moments",
    "ObservedTeacher",
    "PooledMoments",
    "RunningMoments",
    "StatisticsDistance",
    "StoredStatistics",
    "channel_moments",
    "observe",
    "stored_statistics",
]

_EPS = 1e-5
_LARGEST = 1e12  # mean or deviation: far larger ones cannot be squared in float32


@dataclass(frozen=True)
class Moments:
    """Mean and variance [C] over batch and space of every channel of every observed layer, one layer after another."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class StoredStatistics:
    """Moments of the inputs of a teacher's layers on the pictures it was trained on."""

    names: tuple[str, ...]  # of the layers
    sizes: tuple[int, ...]  # channels of each layer
    moments: Moments

    @classmethod
    def of(cls, layers: Mapping[str, tuple[Tensor, Tensor]]) -> StoredStatistics:
        """From mean and variance [C] of each layer's input, by layer name. Raises ModelError for absurd ones."""
        means, variances = [mean for mean, _ in layers.values()], [variance for _, variance in layers.values()]
        sizes = tuple(len(mean) for mean in means)
        for name, (mean, variance) in layers.items():
            if not (mean.abs().max() < _LARGEST and variance.max() < _LARGEST**2):
                raise ModelError(
                    f"The statistics of {name} hold a mean or variance that no pictures produce"
                    f" ({max(float(mean.abs().max()), float(variance.max())):.3g})",
                    fix="Measure them again, or save the teacher again",
                )
        return cls(tuple(layers), sizes, Moments(torch.cat(means).float(), torch.cat(variances).float()))

    def first(self, share: float) -> StoredStatistics:
        """Those of the first `share` of the layers, at least of one."""
        count = max(1, round(share * len(self.names)))
        size = sum(self.sizes[:count])
        moments = Moments(self.moments.mean[:size], self.moments.variance[:size])
        return StoredStatistics(self.names[:count], self.sizes[:count], moments)

    def in_order(self, names: Sequence[str]) -> StoredStatistics:
        """Those of the named layers, in the order of `names`."""
        layers = self.layers()
        return StoredStatistics.of({name: layers[name] for name in names})

    def layers(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean and variance [C] of each layer's input, by layer name."""
        means, variances = self.moments.mean.split(self.sizes), self.moments.variance.split(self.sizes)
        return dict(zip(self.names, zip(means, variances, strict=True), strict=True))

    @property
    def digest(self) -> str:
        """Of the layers' names and values."""
        values = torch.cat([self.moments.mean, self.moments.variance]).cpu().numpy().tobytes()
        return sha256_bytes("\n".join(self.names).encode() + values)

    def to(self, device: torch.device) -> StoredStatistics:
        return replace(self, moments=Moments(self.moments.mean.to(device), self.moments.variance.to(device)))


def channel_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance [C] of x [N, C, H, W], without a gradient."""
    # The fastest stable per-channel moments in PyTorch on CPU and GPU: 13 times faster than var_mean on a CPU.
    # The moments have the weight's dtype: float32 for inputs in half precision.
    weight = torch.ones(x.shape[1], device=x.device, dtype=torch.promote_types(x.dtype, torch.float32))
    _, mean, inverse = torch.native_batch_norm(x.detach(), weight, None, None, None, True, 0.0, _EPS)
    return mean, (inverse.pow(-2) - _EPS).clamp_min(0)


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


class _ObservedBatchNorm(nn.Module):
    """A frozen BatchNorm that adds the moments of its input to `seen` at each run."""

    scale: Tensor
    shift: Tensor

    def __init__(self, layer: nn.BatchNorm2d) -> None:
        super().__init__()
        mean, variance = _stored(layer)
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


def _over_runs(seen: Sequence[Moments]) -> Moments:
    """The mean over the runs of a layer that runs several times, which is what BatchNorm stored for it."""
    if len(seen) == 1:
        return seen[0]
    mean, variance = torch.stack([run.mean for run in seen]), torch.stack([run.variance for run in seen])
    return Moments(mean.mean(0), variance.mean(0))


def stored_statistics(module: nn.Module) -> StoredStatistics:
    """What a network's own BatchNorm layers stored. Raises ModelError when there are none."""
    layers = batch_norm_layers(module)
    if not layers:
        raise ModelError(
            "The teacher has no BatchNorm statistics, so nothing is known about its training pictures",
            fix="Distil without the transformation (--no-transformation), or pass a --statistics file",
        )
    return StoredStatistics.of({name: _stored(layer) for name, layer in layers.items()})


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


class StatisticsDistance:
    """How far moments are from the stored ones, layer by layer.

    (mu - mean)^2 / (var + floor) + ln((var_seen + floor) / (var + floor))^2 / 2, averaged over a layer's channels: for
    small differences twice the Kullback-Leibler divergence of two normal distributions, without a unit. The floor is a
    hundredth of the layer's median variance. Channels whose stored variance is practically zero carry no information
    and would dominate by their tiny denominators; they do not count.
    """

    def __init__(self, stored: StoredStatistics) -> None:
        variances = stored.moments.variance.split(stored.sizes)
        alive = [(variance > NO_SPREAD).float() for variance in variances]
        floors = [(variance.median() * 1e-2 + NO_SPREAD).expand(len(variance)) for variance in variances]
        device = stored.moments.mean.device
        self.layers = len(stored.sizes)
        self._mean = stored.moments.mean
        self._floor = torch.cat(floors)
        self._spread = stored.moments.variance + self._floor
        self._share = torch.cat([living / living.sum().clamp_min(1) for living in alive])
        self._layer = torch.cat([torch.full((size,), n, device=device) for n, size in enumerate(stored.sizes)])

    def __call__(self, seen: Moments) -> Tensor:
        """The distance of each layer, [L]."""
        shift = (seen.mean - self._mean).square() / self._spread
        ratio = ((seen.variance + self._floor) / self._spread).log().square() / 2
        distances = torch.zeros(self.layers, device=shift.device)
        return distances.index_add(0, self._layer, (shift + ratio) * self._share)


class PooledMoments:
    """Moments over all pictures of several batches, in float64 on the CPU. Averages raw second moments."""

    def __init__(self) -> None:
        self.count = 0
        self._mean = self._square = torch.zeros((), dtype=torch.float64)

    def add(self, batch: Moments, count: int) -> None:
        """Add the moments of a batch of `count` pictures."""
        mean, variance = batch.mean.double().cpu(), batch.variance.double().cpu()
        self._mean = self._mean + mean * count
        self._square = self._square + (variance + mean.square()) * count
        self.count += count

    def moments(self) -> Moments:
        """The moments of the pictures so far, of which there must be at least one."""
        mean = self._mean / self.count
        return Moments(mean, (self._square / self.count - mean.square()).clamp_min(0))


class RunningMoments:
    """A running estimate over batches that still passes the full gradient to the newest batch."""

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum
        self._mean: Tensor | None = None
        self._square: Tensor | None = None  # raw second moment, which averages over batches

    def update(self, batch: Moments) -> Moments:
        """Add a batch's moments and return the estimate.

        A set of rooms is matched, not each batch: the value is that of the running estimate, the gradient that of the
        batch. The variance of the estimate includes the spread of the batches' means.
        """
        mean, square = batch.mean.detach(), (batch.variance + batch.mean.square()).detach()
        if self._mean is not None and self._square is not None:
            # A checkpoint is loaded onto the CPU, wherever it was made.
            mean = torch.lerp(mean, self._mean.to(mean.device), self.momentum)
            square = torch.lerp(square, self._square.to(mean.device), self.momentum)
        self._mean, self._square = mean, square
        variance = (square - mean.square()).clamp_min(0)
        return Moments(mean + (batch.mean - batch.mean.detach()), variance + (batch.variance - batch.variance.detach()))

    def state_dict(self) -> dict[str, Tensor]:
        """Plain tensors for a checkpoint; empty before the first update."""
        return {} if self._mean is None or self._square is None else {"mean": self._mean, "square": self._square}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._mean, self._square = state.get("mean"), state.get("square")


def _stored(layer: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert layer.running_mean is not None and layer.running_var is not None
    return layer.running_mean.detach().clone(), layer.running_var.detach().clone()
