"""Finds the layers that keep all channels when a network is cut, as torch-pruning cannot follow their channels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import nn

from edgekd.models.evaluating import evaluating
from targets.input import InputSpec

__all__ = ["beside_depth", "too_long_to_follow"]

_CUT = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class _Index(NamedTuple):
    """A channel as torch-pruning's mappings take it: its present index, and its index in the first layer."""

    idx: int
    root_idx: int


_LEAST_LIMIT, _GREATEST_LIMIT, _PER_CHANNEL_AND_LAYER = 500_000, 5_000_000, 20
"""Limit on the indices visited while following one layer's channels: `_PER_CHANNEL_AND_LAYER` per channel and layer,
but between `_LEAST_LIMIT` and `_GREATEST_LIMIT`. FCRN with ResNet-50 visits 70,000 of its 5 million, DenseNet-161 more
than 500,000."""


def beside_depth(network: nn.Module, input: InputSpec) -> list[nn.Module]:  # noqa: A002
    """The layers that run but that the depth does not depend on, such as heads of coarser scales.

    torch-pruning only follows layers that lead to an output: it would cut the inputs of these layers but not the layers
    themselves. Raises ValueError when torch does not know what the depth was computed from.
    """
    made: list[tuple[nn.Module, Any]] = []
    with ExitStack() as hooks, torch.enable_grad(), evaluating(network):
        for layer in network.modules():
            if isinstance(layer, (*_CUT, nn.BatchNorm2d)):  # grad_fn now: an in-place operation may replace it later
                note = layer.register_forward_hook(
                    lambda layer, given, out: made.append((layer, getattr(out, "grad_fn", None)))
                )
                hooks.callback(note.remove)
        depth = network(torch.zeros(1, 3, input.height, input.width))
    if depth.grad_fn is None:
        raise ValueError("its depth has no gradient, as behind an argmax or a threshold")
    reached: set[Any] = set()
    waiting = [depth.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in reached:
            reached.add(node)
            waiting += [before for before, _ in node.next_functions]
    led_on = {layer for layer, node in made if node is None or node in reached}  # None: computed under torch.no_grad
    return [layer for layer in dict.fromkeys(layer for layer, _ in made) if layer not in led_on]


def too_long_to_follow(graph: Any) -> list[nn.Module]:
    """The layers whose channels a torch-pruning DependencyGraph would follow forever, or for minutes. This happens if a
    tensor is combined with itself shifted by a channel, as for the edges of the bins of AdaBins."""
    return [layer for layer in graph.module2node if isinstance(layer, _CUT) and not _ends(graph, layer)]


def _ends(graph: Any, layer: nn.Module) -> bool:
    """Whether the walk of DependencyGraph.get_pruning_group (torch-pruning 1.6) ends within the limit."""
    pruner = graph.get_pruner_of_module(layer)
    channels = pruner.get_out_channels(layer)
    if channels is None:
        return True
    all_of_them = tuple(_Index(number, number) for number in range(channels))
    waiting = [(graph.module2node[layer], pruner.prune_out_channels, all_of_them)]
    seen, left = (
        set(waiting),
        min(_GREATEST_LIMIT, max(_LEAST_LIMIT, _PER_CHANNEL_AND_LAYER * channels * len(graph.module2node))),
    )
    while waiting:
        node, pruning, indices = waiting.pop()
        for dependency in node.dependencies:
            if not dependency.is_triggered_by(pruning):
                continue
            reached: Sequence[Any] = indices
            for mapping in filter(None, dependency.index_mapping):
                left -= max(1, len(mapping(reached[:1]))) * len(reached)  # counted before they are created
                if left < 0:
                    return False
                reached = mapping(reached)
            left -= len(reached)
            if left < 0:
                return False
            step = (dependency.target, dependency.handler, tuple(reached))
            if reached and step not in seen:
                seen.add(step)
                waiting.append(step)
    return True
