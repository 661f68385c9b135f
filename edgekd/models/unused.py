"""Finds the layers of a network that do not run when it is used."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgekd.models.evaluating import evaluating
from targets.input import InputSpec

__all__ = ["drop_unused"]


class _Place(NamedTuple):
    """Where a layer stands in a network."""

    parent: nn.Module
    name: str
    layer: nn.Module


def drop_unused(network: nn.Module, input: InputSpec) -> None:  # noqa: A002
    """Replace layers with weights that do not run in evaluation mode, in place: heads for training, or the last stages
    of an encoder whose decoder does not read them. Where the depth would not stay the same, they are kept."""
    ran: set[nn.Module] = set()
    with ExitStack() as hooks:
        for layer in network.modules():
            hooks.callback(layer.register_forward_pre_hook(lambda layer, given: ran.add(layer)).remove)
        depth = _depth(network, input)
    idle = [
        _Place(parent, name, layer)
        for parent in network.modules()
        for name, layer in parent.named_children()
        if _is_idle(layer, ran) and not _is_idle(parent, ran)
    ]
    _drop(idle, network, input, depth)


def _drop(idle: Sequence[_Place], network: nn.Module, input: InputSpec, depth: Tensor) -> None:  # noqa: A002
    """Replace as many of these as the depth allows: a parent may read a layer's weights without running it, as
    nn.MultiheadAttention does."""
    if not idle:
        return
    for parent, name, _ in idle:
        setattr(parent, name, nn.Identity())
    try:
        same = torch.equal(_depth(network, input), depth)
    except Exception:  # whatever reading an nn.Identity raises
        same = False
    if same:
        return
    for parent, name, layer in idle:
        setattr(parent, name, layer)
    if len(idle) > 1:
        half = len(idle) // 2
        _drop(idle[:half], network, input, depth)
        _drop(idle[half:], network, input, depth)


def _is_idle(layer: nn.Module, ran: set[nn.Module]) -> bool:
    return ran.isdisjoint(layer.modules()) and any(True for _ in layer.parameters())


@torch.no_grad()
def _depth(network: nn.Module, input: InputSpec) -> Tensor:  # noqa: A002
    with evaluating(network), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # also for dropout that is always on
        depth: Tensor = network(torch.rand(1, 3, input.height, input.width))
        return depth
