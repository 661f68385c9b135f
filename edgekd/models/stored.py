"""Which convolution of an exported model carries which BatchNorm's statistics, once the two were folded into one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from targets.layers import conv_layers
from targets.statistics import ChannelStatistics

__all__ = ["folded_statistics"]


def folded_statistics(model: onnx.ModelProto, network: nn.Module, example: Tensor) -> dict[str, ChannelStatistics]:
    """Statistics of the outputs of the model's convolutions, by node name.

    `network` in eval mode is what the model was exported from; it is run once on `example` to see what follows what.
    Convolutions are recognised by their weights: exporters name them as they like.
    """
    waiting = list(conv_layers(model).values())
    found = {}
    for weight, statistics in _folded(network, example):
        match = next((layer for layer in waiting if _same(layer.weights.weight, weight)), None)
        if match is not None:
            waiting.remove(match)
            found[match.name] = statistics
    return found


def _folded(network: nn.Module, example: Tensor) -> Iterator[tuple[np.ndarray, ChannelStatistics]]:
    """(weight once folded, statistics of the output) of every convolution that a BatchNorm reads."""
    for convolution, norm in _followers(network, example):
        if norm.running_var is None:
            continue
        shift = torch.zeros_like(norm.running_var) if norm.bias is None else norm.bias.detach()
        scale = torch.ones_like(norm.running_var) if norm.weight is None else norm.weight.detach()
        factor = scale / (norm.running_var + norm.eps).sqrt()
        weight = convolution.weight.detach() * factor.view(-1, 1, 1, 1)
        yield weight.cpu().numpy(), ChannelStatistics(shift.cpu().numpy(), scale.abs().cpu().numpy())


@torch.no_grad()
def _followers(network: nn.Module, example: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    written: dict[int, tuple[Tensor, nn.Conv2d]] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def after_convolution(layer: nn.Module, _: Any, output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        written[id(output)] = output, layer  # the tensor is held, or its id could be given to another

    def before_norm(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        _, convolution = written.get(id(inputs[0]), (None, None))
        if convolution is not None:
            pairs.append((convolution, layer))

    with ExitStack() as hooks:
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                hooks.callback(module.register_forward_hook(after_convolution).remove)
            elif isinstance(module, nn.BatchNorm2d):
                hooks.callback(module.register_forward_pre_hook(before_norm).remove)
        network(example)
    return pairs


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-3, atol=1e-6 * float(np.abs(other).max()))
