"""The order in which a network's layers run, which may differ from the order of their definition."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from edgekd.models.evaluating import run_once
from targets.input import InputSpec

__all__ = ["layer_runs", "running_order"]


def running_order(module: nn.Module, names: Sequence[str], input: InputSpec) -> list[str]:  # noqa: A002
    """The named layers that run on a picture, in the order of their first run; in evaluation mode."""
    return list(dict.fromkeys(layer_runs(module, names, input)))


def layer_runs(module: nn.Module, names: Sequence[str], input: InputSpec) -> list[str]:  # noqa: A002
    """Every run of the named layers on a picture, in order; a layer that is used twice appears twice."""
    layers = {module.get_submodule(name): name for name in names}
    runs: list[str] = []
    handles = [layer.register_forward_hook(lambda layer, *_: runs.append(layers[layer])) for layer in layers]
    try:
        run_once(module, (input.height, input.width))
    finally:
        for handle in handles:
            handle.remove()
    return runs
