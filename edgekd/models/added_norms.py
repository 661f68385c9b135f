"""BatchNorm layers behind convolutions that have none, so that a student cut from the network can be held to them.

Exporters to ONNX fold BatchNorm into the convolutions before it, and other networks use GroupNorm or LayerNorm. What is
added changes nothing. Its statistics are those of simulated pictures: they say how much each channel varies, and
nothing of the pictures that the network was trained on.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from calibration.reasons import out_of_memory
from edgekd.models.evaluating import run_once
from edgekd.models.given import given_to
from edgekd.models.teacher import Teacher
from targets.input import InputSpec

__all__ = ["AddedNorm", "add_norms", "with_norms"]

_EPS = 1e-8  # added to a variance; small, as the channels of some networks vary little

_Convolution = nn.Conv2d | nn.ConvTranspose2d


class AddedNorm(nn.BatchNorm2d):
    """A BatchNorm that was not trained: in evaluation mode it gives what it is given."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=_EPS)
        self.fit(torch.zeros(channels), torch.ones(channels))

    @torch.no_grad()
    def fit(self, mean: Tensor, variance: Tensor) -> None:
        """Take these statistics [C] of the input, and still give what is given."""
        assert self.running_mean is not None and self.running_var is not None
        self.running_mean.copy_(mean)
        self.running_var.copy_(variance)
        self.weight.copy_((self.running_var + self.eps).sqrt())
        self.bias.copy_(self.running_mean)


def with_norms(teacher: Teacher) -> Teacher:
    """The teacher with such layers, in a copy of its network; the teacher itself where none are added."""
    network = copy.deepcopy(teacher.module)
    return replace(teacher, module=network) if add_norms(network, teacher.input) else teacher


def add_norms(network: nn.Module, input: InputSpec) -> int:  # noqa: A002
    """Put an AddedNorm behind each convolution that runs once per picture and that no BatchNorm reads, in place.

    The convolution `name` becomes `name.0`, and its BatchNorm is `name.1`. Convolutions with one channel stay as they
    are. Returns how many were added: none where the network then does not run, as it reads its layers' weights.
    """
    size = (input.height, input.width)
    alone = _alone(network, size)
    followed: dict[nn.Module | None, nn.Module] = {layer: _followed(layer) for layer in alone}
    places = [
        (parent, name, held)
        for parent in network.modules()
        for name, held in parent._modules.items()  # under every name: named_children gives only one
        if held in followed
    ]
    for parent, name, held in places:
        setattr(parent, name, followed[held])
    try:
        run_once(network, size)
    except Exception as error:  # whatever the network raises
        if out_of_memory(error):
            raise
        for parent, name, held in places:
            setattr(parent, name, held)
        return 0
    return len(alone)


def _alone(network: nn.Module, size: tuple[int, int]) -> list[_Convolution]:
    """The convolutions with several channels that run once per picture and are not read by a BatchNorm."""
    runs: Counter[_Convolution] = Counter()
    outputs: dict[int, tuple[_Convolution, Tensor]] = {}
    read: set[_Convolution] = set()

    def after(layer: _Convolution, inputs: tuple[Any, ...], named: Mapping[str, Any], output: Tensor) -> None:
        plain = len(inputs) + len(named) == 1 and output.ndim == 4
        runs[layer] += len(output) if plain else 2  # views of a picture, stacked into the batch, count separately
        outputs[id(output)] = layer, output  # kept, so that its id is not reused

    def before(norm: nn.BatchNorm2d, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        if (found := outputs.get(id(given_to(inputs, named)))) is not None:
            read.add(found[0])

    with ExitStack() as hooks:
        for layer in network.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                hooks.callback(layer.register_forward_hook(after, with_kwargs=True).remove)
            elif isinstance(layer, nn.BatchNorm2d):
                hooks.callback(layer.register_forward_pre_hook(before, with_kwargs=True).remove)
        run_once(network, size)
    return [layer for layer, ran in runs.items() if ran == 1 and layer.out_channels > 1 and layer not in read]


def _followed(convolution: _Convolution) -> nn.Sequential:
    norm = AddedNorm(convolution.out_channels).to(convolution.weight.device)
    norm.requires_grad_(convolution.weight.requires_grad)
    return nn.Sequential(convolution, norm).train(convolution.training)
