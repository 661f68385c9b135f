"""Chooses the channels that a student cut from its teacher keeps: those that the others cannot replace.

A convolution that loses an input channel can compensate with its other weights, as far as the channels are correlated.
With the covariance C of its input and its weights w, removing channel j and solving for the others by least squares
adds |w_j|^2 / (C^-1)_jj to its squared error (Hassibi and Stork, Optimal Brain Surgeon, NIPS 1992). Then w and C^-1 are
updated to those without j, and the next cheapest channel is removed. The pictures may be simulated: they only show
which channels are correlated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.models.given import given_to
from edgekd.models.stored import FoldedLayer, layers_as_run, stored_by

__all__ = ["LeastMissed", "Reading", "least_missed_first", "readings"]

_PIXELS = 1 << 15  # pixels of a layer's input in one run that its covariance is estimated from
_SPARE = 8  # channels ranked beyond the cut, as pruning rounds their number
_RIDGE = 1e-3  # of the mean variance: a channel that repeats another would leave C without an inverse
_TINY = 1e-30  # for layers whose input is all zeros


@dataclass(frozen=True)
class Reading:
    """How a convolution reads its input.

    `weights` [C, K] float64 holds the weights of each input channel in units of the convolution's output: the squared
    length of a combination of rows is its share of the output's variance. `covariance` [C, C] float64 is the input's.
    """

    weights: Tensor
    covariance: Tensor


@torch.no_grad()
def readings(network: nn.Module, pictures: Sequence[Tensor]) -> dict[str, Reading]:
    """The Reading of each ungrouped convolution of `network` (in eval mode), by name.

    `pictures` is a sequence of normalised batches [N, 3, H, W], on which the network is run one after the other.
    """
    sums: dict[nn.Module, Tensor] = {}

    def before(layer: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        sums[layer] = sums.get(layer, 0) + _moments(given_to(inputs, named))

    readers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.groups == 1]
    handles = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in readers]
    try:
        for some in pictures:
            network(some)
    finally:
        for handle in handles:
            handle.remove()
    found = {}
    for layer in layers_as_run(network, pictures[0][:1]):
        if layer.convolution in sums:
            covariance = _covariance(sums[layer.convolution].cpu())
            found[layer.name] = Reading(_weights(layer, covariance), covariance)
    return found


def least_missed_first(using: Sequence[tuple[Reading, Tensor]], channels: int, removed: int) -> Tensor:
    """A rank for each of `channels` channels: 0, 1, ... for the first `removed` to be left out, more for the others.

    `using` holds the convolutions that read these channels, each with the indices of its inputs for channel 0, 1, ...
    """
    weights, inverses = [], []
    for reading, inputs in using:
        covariance = reading.covariance[inputs][:, inputs]
        floor = _RIDGE * covariance.diagonal().mean() + _TINY
        inverses.append(torch.linalg.inv(covariance + floor * torch.eye(channels, dtype=torch.float64)))
        weights.append(reading.weights[inputs])
    ranks = torch.full((channels,), float(channels))
    left = torch.ones(channels, dtype=torch.bool)
    for rank in range(min(removed, channels)):
        missed = torch.zeros(channels, dtype=torch.float64)
        for own, inverse in zip(weights, inverses, strict=True):
            missed += torch.linalg.vector_norm(own, dim=1).square() / inverse.diagonal()
        missed[~left] = torch.inf
        least = int(missed.argmin())
        ranks[least] = rank
        left[least] = False
        for own, inverse in zip(weights, inverses, strict=True):
            along = inverse[:, least] / inverse[least, least]
            own.addr_(along, own[least].clone(), alpha=-1)  # in place: a tenth of the time for 2,048 channels
            inverse.addr_(along, inverse[least].clone(), alpha=-1)
            inverse[least, least] = 1.0  # the rest of its row and column, and its weights, are 0 now
    return ranks


def _moments(x: Tensor) -> Tensor:
    """Sums of the products of the channels and a constant 1, over a sample of the pixels of x [N, C, H, W]."""
    pixels = x.permute(0, 2, 3, 1).flatten(0, 2)
    pixels = pixels[:: max(1, len(pixels) // _PIXELS)].double()
    pixels = torch.cat([pixels, torch.ones_like(pixels[:, :1])], 1)
    return pixels.T @ pixels


def _covariance(sums: Tensor) -> Tensor:
    moments: Tensor = sums / sums[-1, -1]
    return moments[:-1, :-1] - torch.outer(moments[:-1, -1], moments[:-1, -1])


def _weights(layer: FoldedLayer, covariance: Tensor) -> Tensor:
    """The `weights` of Reading, scaled by the BatchNorm that follows; without one, the unit is the whole output."""
    taps = layer.convolution.weight.detach().cpu().double().flatten(2)  # [outputs, inputs, taps]
    if layer.norm is not None and layer.norm.running_var is not None:
        taps = taps * layer.factor.detach().cpu().double().abs().view(-1, 1, 1)
        energy = torch.from_numpy(stored_by(layer.norm).deviation).double().square().mean() * len(taps)
    else:
        energy = torch.einsum("oit,ij,ojt->", taps, covariance, taps)
    return _shortened(taps.transpose(0, 1).flatten(1)) / energy.clamp_min(_TINY).sqrt()


def _shortened(weights: Tensor) -> Tensor:
    """Rows of the same lengths and angles, with at most as many columns as there are rows."""
    if weights.shape[1] <= weights.shape[0]:
        return weights
    triangle: Tensor = torch.linalg.qr(weights.T, mode="r")[1]
    return triangle.T


class LeastMissed:
    """An importance for torch-pruning: within a group of coupled channels, how late each would be left out."""

    def __init__(self, network: nn.Module, found: Mapping[str, Reading], cut: float, otherwise: Any) -> None:
        self._names = {layer: name for name, layer in network.named_modules()}
        self._readings = found
        self._cut = cut
        self._otherwise = otherwise  # the importance of channels that no convolution reads

    def __call__(self, group: Any) -> Tensor:
        from torch_pruning.pruner import function

        channels = len(group[0].root_idxs)
        using = []
        for item in group:
            reading = self._readings.get(self._names.get(item.dep.layer, ""))
            reads = item.dep.pruning_fn == function.prune_conv_in_channels and len(item.idxs) == channels
            if reading is not None and reads and None not in item.root_idxs:
                inputs = torch.zeros(channels, dtype=torch.long)
                inputs[torch.tensor(item.root_idxs)] = torch.tensor(item.idxs)
                using.append((reading, inputs))
        if not using:
            ranks: Tensor = self._otherwise(group)
            return ranks
        return least_missed_first(using, channels, round(self._cut * channels) + _SPARE)
