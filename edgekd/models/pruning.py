"""Removes a share of each layer's channels along torch-pruning's dependency graph.

As torch-pruning's own BasePruner does for a single step, but it rounds the channels of all groups of a layer together:
there, convolutions in groups of few channels (ResNeXt, RegNet) and GroupNorm would stay whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["prune"]

_ROUND_TO = 8  # channels; runtimes handle multiples of 8 best
_ROOTS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@torch.no_grad()
def prune(graph: Any, importance: Callable[[Any], Tensor | None], cut: float, whole: Sequence[nn.Module]) -> None:
    """Cut the network of a torch-pruning DependencyGraph in place; the layers `whole` keep all their channels.

    `importance` ranks the channels of a group of coupled layers, the smallest first to go. Of a layer with groups,
    such as a convolution, each loses the channels in the same places.
    """
    ranked = []
    for group in graph.get_all_groups(ignored_layers=list(whole), root_module_types=_ROOTS):
        if any(_channels(graph, item) == 1 for item in group):
            continue
        scores = importance(group)
        if scores is not None:
            ranked.append((group[0].dep.target.module, group[0].dep.handler, scores.cpu(), _parts(graph, group)))
    for layer, pruning, scores, parts in ranked:
        size = len(scores) // parts
        removed = size - _kept(size, parts, cut)
        if not 0 < removed < size:
            continue
        places = scores.view(parts, size).mean(0).argsort()[:removed]
        gone = (places + size * torch.arange(parts).view(-1, 1)).flatten().unique().tolist()
        group = graph.get_pruning_group(layer, pruning, gone)
        if graph.check_pruning_group(group):
            group.prune()


def _kept(size: int, parts: int, cut: float) -> int:
    """The channels kept of each of `parts` groups of `size`, so that all together are a multiple of `_ROUND_TO`."""
    kept = int(size * (1 - cut))
    return kept - kept % (_ROUND_TO // math.gcd(_ROUND_TO, parts))


def _channels(graph: Any, item: Any) -> int | None:
    """The channels that a layer of a group has where the group would cut it; None if it has no number of its own."""
    layer, pruning = item.dep.target.module, item.dep.handler
    if isinstance(layer, nn.Parameter):
        return None
    counted: int | None = None
    if graph.is_out_channel_pruning_fn(pruning):
        counted = graph.get_out_channels(layer)
    elif graph.is_in_channel_pruning_fn(pruning):
        counted = graph.get_in_channels(layer)
    return counted


def _parts(graph: Any, group: Any) -> int:
    """The groups in which channels of these layers must be cut alike: 1 without a layer in groups."""
    parts = 1
    for item in group:
        layer = item.dep.target.module
        depthwise = isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) and layer.groups == layer.out_channels
        if isinstance(layer, nn.Module) and not depthwise:
            pruner = graph.get_pruner_of_module(layer)
            outputs = graph.is_out_channel_pruning_fn(item.dep.handler)
            counted = pruner.get_out_channel_groups(layer) if outputs else pruner.get_in_channel_groups(layer)
            parts = max(parts, counted)
    return parts
