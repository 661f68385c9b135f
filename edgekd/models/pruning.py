"""Removes a share of each layer's channels along torch-pruning's dependency graph.

As torch-pruning's own BasePruner does for a single step, but it rounds the channels of all groups of a layer together:
there, convolutions in groups of few channels (ResNeXt, RegNet) and GroupNorm would stay whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

__all__ = ["prune"]

_ROUND_TO = 8  # channels; runtimes handle multiples of 8 best
_ROOTS = (_ConvNd, nn.Linear)


@torch.no_grad()
def prune(graph: Any, importance: Callable[[Any], Tensor | None], cut: float, whole: Sequence[nn.Module]) -> None:
    """Cut the network of a torch-pruning DependencyGraph in place; the layers `whole` keep all their channels.

    `importance` ranks the channels of a group of coupled layers, the smallest first to go. Of a layer with groups,
    such as a convolution, each loses the channels in the same places.
    """
    norms = [layer for layer in graph.model.modules() if isinstance(layer, nn.LayerNorm) and layer.elementwise_affine]
    for norm in norms:  # torch-pruning cuts gradients alike, so that they tell in which order it left the channels
        norm.weight.grad = torch.arange(norm.weight.numel(), dtype=torch.float32).view_as(norm.weight)
    ranked = []
    for whole_group in graph.get_all_groups(ignored_layers=list(whole), root_module_types=_ROOTS):
        for group in _narrowest(graph, whole_group):
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
    for norm in norms:
        _reorder(norm)


def _narrowest(graph: Any, group: Any) -> Iterator[Any]:
    """The group itself or, where its first layer has more channels than others, the groups of these.

    The first layer may be a depthwise convolution of concatenated maps: each of these must lose its own share, and a
    channel that was concatenated with a copy of itself (GhostNet) takes that with it.
    """
    width, done = len(group[0].idxs), set()
    narrower = []
    for item in group:
        layer = item.dep.target.module
        if isinstance(layer, _ROOTS) and graph.is_out_channel_pruning_fn(item.dep.handler):
            narrower += [layer] * (graph.get_out_channels(layer) < width)
    if not narrower:
        yield group
    for layer in narrower:
        if layer not in done:
            channels = graph.get_out_channels(layer)
            pruner = graph.get_pruner_of_module(layer)
            part = graph.get_pruning_group(layer, pruner.prune_out_channels, list(range(channels)))
            done |= {item.dep.target.module for item in part if _channels(graph, item) == channels}
            yield part


def _reorder(norm: nn.LayerNorm) -> None:
    """Bring the weights that are left of a LayerNorm into the order of the channels (torch-pruning sorts none)."""
    assert norm.weight.grad is not None
    if norm.weight.ndim == 1:
        order = norm.weight.grad.argsort()
        norm.weight.data = norm.weight.data[order]
        if norm.bias is not None:
            norm.bias.data = norm.bias.data[order]
    norm.weight.grad = None


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
