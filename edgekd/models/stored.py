"""Matches the convolutions of an exported model, with BatchNorm folded in, to those of the network.

What the network knows about a convolution is stored in the model under its exported name: BatchNorm's statistics of its
output, and the learned range of its input.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from edgekd.models.added_norms import AddedNorm
from edgekd.models.given import given_to
from targets.layers import conv_layers
from targets.statistics import ChannelStatistics

__all__ = [
    "FoldedLayer",
    "folded_layers",
    "folded_ranges",
    "folded_statistics",
    "layers_as_run",
    "stored_by",
]


@dataclass(frozen=True)
class FoldedLayer:
    """A convolution of the network with its name there, and the BatchNorm that reads its output, if any.

    `counted_by` is the BatchNorm with the convolution's channels: `norm`, or one that reads its output after an
    in-place activation or sum.
    """

    name: str
    convolution: nn.Conv2d
    norm: nn.BatchNorm2d | None
    counted_by: nn.BatchNorm2d | None

    @property
    def factor(self) -> Tensor:
        """The factors [C] by which folding multiplies the weights."""
        if self.norm is None or self.norm.running_var is None:
            return torch.ones(self.convolution.out_channels)
        return _scale(self.norm) / (self.norm.running_var + self.norm.eps).sqrt()


def folded_layers(model: onnx.ModelProto, network: nn.Module, example: Tensor) -> dict[str, FoldedLayer]:
    """The network's convolutions, by the name of the model's node that each became.

    `network`, in eval mode, is what the model was exported from; it is run once on `example` to see which layer follows
    which. Convolutions are recognised by their weights, as exporters choose names of their own.
    """
    waiting = list(conv_layers(model).values())
    found = {}
    for layer in layers_as_run(network, example):
        weight = (layer.convolution.weight.detach() * layer.factor.view(-1, 1, 1, 1)).cpu().numpy()
        match = next((one for one in waiting if _same(one.weights.weight, weight)), None)
        if match is not None:
            waiting.remove(match)
            found[match.name] = layer
    return found


def folded_statistics(
    layers: Mapping[str, FoldedLayer], stored: Mapping[nn.Module, ChannelStatistics]
) -> dict[str, ChannelStatistics]:
    """Statistics of the outputs of convolutions that a BatchNorm reads: from `stored`, or else the BatchNorm's own."""
    found = {}
    for name, layer in layers.items():
        norm = layer.norm
        if norm is not None and norm.running_var is not None and not isinstance(norm, AddedNorm):
            found[name] = stored[norm] if norm in stored else stored_by(norm)
    return found


def stored_by(norm: nn.BatchNorm2d) -> ChannelStatistics:
    """Mean and deviation of the layer's output, over the pictures it was trained on."""
    assert norm.running_var is not None
    shift = torch.zeros_like(norm.running_var) if norm.bias is None else norm.bias.detach()
    return ChannelStatistics(shift.cpu().numpy().copy(), _scale(norm).abs().cpu().numpy().copy())


def folded_ranges(
    layers: Mapping[str, FoldedLayer], ranges: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """Ranges by the model's node names, for the layers that were matched; `ranges` has the network's names."""
    # The layers' names may start with `network.`, from the wrapper for deployment.
    return {
        node: (low, high)
        for node, layer in layers.items()
        for name, (low, high) in ranges.items()
        if layer.name in (name, f"network.{name}")
    }


@torch.no_grad()
def layers_as_run(network: nn.Module, example: Tensor) -> list[FoldedLayer]:
    """The convolutions in the order of their first run on `example`, each with the BatchNorm that reads its output."""
    written: dict[int, tuple[Tensor, int, nn.Conv2d]] = {}
    followed: dict[nn.Conv2d, nn.BatchNorm2d | None] = {}
    counted: dict[nn.Conv2d, nn.BatchNorm2d] = {}
    names = {module: name for name, module in network.named_modules()}

    def after_convolution(layer: nn.Module, _: Any, output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        # Keep the tensor, so that its id is not reused; its version reveals in-place changes.
        written[id(output)] = output, output._version, layer
        followed.setdefault(layer, None)

    def before_norm(layer: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        given = given_to(inputs, named)
        if id(given) in written:
            _, version, convolution = written[id(given)]
            counted[convolution] = layer
            followed[convolution] = layer if given._version == version else None

    with ExitStack() as hooks:
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                hooks.callback(module.register_forward_hook(after_convolution).remove)
            elif isinstance(module, nn.BatchNorm2d):
                hooks.callback(module.register_forward_pre_hook(before_norm, with_kwargs=True).remove)
        network(example)
    return [FoldedLayer(names[layer], layer, norm, counted.get(layer)) for layer, norm in followed.items()]


def _scale(norm: nn.BatchNorm2d) -> Tensor:
    assert norm.running_var is not None
    return torch.ones_like(norm.running_var) if norm.weight is None else norm.weight.detach()


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-3, atol=1e-6 * float(np.abs(other).max()))
