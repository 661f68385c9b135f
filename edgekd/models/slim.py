"""Students cut from their teacher: the same network with fewer channels, starting from the teacher's own weights.

The weights hold what the teacher learnt from its unavailable pictures. A student that keeps some of the filters starts
with that knowledge, and each of its channels has a counterpart in the teacher to be matched to (features.py of
edgekd.distill). torch-pruning's dependency graph (Fang et al., DepGraph, CVPR 2023) finds which channels belong
together, for example through a residual sum or a skip. Groups are ranked by the L2 norm of their weights or, if
pictures are given, by what the layers that read them would lose (channels.py).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from calibration.errors import MissingRuntimeError, ModelError
from calibration.reasons import out_of_memory
from edgekd.models.added_norms import add_norms
from edgekd.models.attention import product_of_pictures
from edgekd.models.batch_norm import batch_norm_layers, mostly_otherwise
from edgekd.models.channels import LeastMissed, readings
from edgekd.models.followed import Followed
from edgekd.models.onnx_import import attention
from edgekd.models.plain_network import scripted_part
from edgekd.models.pruning import prune
from edgekd.models.stored import stored_by
from edgekd.models.teacher import Teacher
from edgekd.models.uncut import beside_depth, too_long_to_follow
from edgekd.models.unused import drop_unused
from targets.input import InputSpec
from targets.statistics import ChannelStatistics

__all__ = ["Slim", "choose_channels", "require_cuttable", "slim"]

_MOMENTUM = 0.1  # of BatchNorm; an imported network may have none


class Slim(nn.Module):
    """A network with fewer channels.

    For each of its BatchNorm layers, `kept` holds the numbers of the teacher's channels that it has, and `stored` the
    teacher's statistics of them, as its own layers only see simulated pictures. Both are part of its state, so that a
    student can be filled from a file with any choice of channels.
    """

    channels: Tensor
    stored_mean: Tensor
    stored_deviation: Tensor

    def __init__(
        self,
        network: nn.Module,
        cut: float,
        kept: Mapping[str, Sequence[int]],
        stored: Mapping[str, ChannelStatistics],
    ) -> None:
        super().__init__()
        self.network = network
        self.cut = cut
        self._widths = {name: len(channels) for name, channels in kept.items()}
        self.register_buffer("channels", torch.tensor([one for channels in kept.values() for one in channels]))
        for part in ("mean", "deviation"):
            flat = np.concatenate([getattr(stored[name], part) for name in kept])
            self.register_buffer(f"stored_{part}", torch.from_numpy(flat))

    @property
    def kept(self) -> dict[str, tuple[int, ...]]:
        """For each BatchNorm layer by name, the numbers of the teacher's channels that it has."""
        return {name: tuple(part.tolist()) for name, part in self._parts(self.channels)}

    @property
    def stored(self) -> dict[str, ChannelStatistics]:
        """For each BatchNorm layer by name, the teacher's statistics of these channels."""
        means, deviations = dict(self._parts(self.stored_mean)), dict(self._parts(self.stored_deviation))
        return {
            name: ChannelStatistics(means[name].cpu().numpy().copy(), deviations[name].cpu().numpy().copy())
            for name in self._widths
        }

    def forward(self, x: Tensor) -> Tensor:
        depth: Tensor = self.network(x)
        return depth

    def train(self, mode: bool = True) -> Slim:
        """Training mode for torch's own layers, such as BatchNorm and Dropout. The network's own code stays in
        evaluation mode: the student learns to do what it will be used for, and needs no auxiliary heads."""
        super().train(mode)
        for layer in self.network.modules():
            if not isinstance(layer, (_BatchNorm, _DropoutNd)) and not type(layer).__module__.startswith("torch.nn."):
                layer.training = False
        return self

    def _parts(self, flat: Tensor) -> Iterable[tuple[str, Tensor]]:
        return zip(self._widths, flat.split(list(self._widths.values())), strict=True)


def choose_channels(student: Slim, teacher: Teacher, pictures: Sequence[Tensor]) -> None:
    """Cut the student from its teacher again, in place, with the channels that `slim` chooses on `pictures`."""
    student.load_state_dict(slim(teacher, student.cut, pictures).state_dict())


def slim(teacher: Teacher, cut: float, pictures: Sequence[Tensor] = ()) -> Slim:
    """The teacher without a share `cut` (0 to 1) of each layer's channels; the same cut gives the same student.

    Removes the channels with the smallest weights or, given normalised `pictures` [N, 3, H, W] on the teacher's device,
    those that are missed least. Each layer loses the same number either way.

    A teacher without BatchNorm is cut with those of added_norms.py. Raises ModelError when the teacher is not a
    convolutional network or the remaining network would not run, MissingRuntimeError without torch-pruning.
    """
    tp = require_cuttable(teacher)
    network = copy.deepcopy(teacher.module).cpu().float()
    network.eval()
    drop_unused(network, teacher.input)
    if not add_norms(network, teacher.input) and not batch_norm_layers(network):
        raise _refusal(teacher, "it has neither BatchNorm nor a convolution that runs once")
    network.requires_grad_(True)
    layers = batch_norm_layers(network)
    smallest = tp.importance.MagnitudeImportance(p=2)
    importance = smallest
    if pictures:
        importance = LeastMissed(network, readings(teacher.module, pictures), cut, otherwise=smallest)
    means = {name: _mean(layer).clone() for name, layer in layers.items()}
    for layer in layers.values():  # the running means carry the channels' numbers through pruning
        layer.running_mean = torch.arange(len(_mean(layer)), dtype=torch.float32)
    last = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.out_channels == 1]
    picture = torch.zeros(1, 3, teacher.input.height, teacher.input.width)
    try:
        aside = beside_depth(network, teacher.input)
        whole = [*last, *aside]
        followed = Followed(network, aside, teacher.input)
        graph = tp.DependencyGraph().build_dependency(followed, (picture,), verbose=False)
        prune(graph, importance, cut, [*whole, *followed.anchors, *too_long_to_follow(graph)])
        followed.constants.cut(network)
        kept, stored = {}, {}
        for name, layer in batch_norm_layers(network).items():
            channels = _mean(layer).round().long()
            kept[name] = tuple(channels.tolist())
            layer.running_mean = means[name][channels]
            layer.momentum = _MOMENTUM
            stored[name] = stored_by(layer)
        student = Slim(network, cut, kept, stored)
        _run(student, teacher.input)
    except Exception as error:  # torch-pruning can fail anywhere in an unknown network
        if out_of_memory(error):
            raise
        raise _refusal(teacher, _reason(error)) from error
    return student


def require_cuttable(teacher: Teacher) -> Any:
    """torch-pruning, for a teacher with nothing that rules a student cut from it out at a glance.

    Raises ModelError or MissingRuntimeError, as `slim` does.
    """
    try:
        import torch_pruning
    except ImportError as error:
        raise MissingRuntimeError(
            f"A student cut from its teacher needs torch-pruning ({error})", fix="Run pip install 'edgekd[distill]'"
        ) from error
    product = attention(teacher.module)
    if product is not None:  # torch-pruning would map each channel to each position, and never finish
        raise _refusal(teacher, f"its node {product} multiplies two tensors of the picture, as attention does")
    if scripted := scripted_part(teacher.module):
        raise _refusal(teacher, f"{scripted}, whose layers cannot be inspected")
    if not batch_norm_layers(teacher.module) or mostly_otherwise(teacher.module):  # perhaps a transformer
        product = _product(teacher)
        if product is not None:
            raise _refusal(teacher, f"its {product} multiplies two tensors of the picture, as attention does")
    return torch_pruning


def _product(teacher: Teacher) -> str | None:
    try:
        return product_of_pictures(teacher.module, teacher.input)
    except Exception as error:  # whatever an unknown network raises with gradients
        if out_of_memory(error):
            raise
        raise _refusal(teacher, f"it does not run with gradients: {type(error).__name__}: {error}") from error


@torch.no_grad()
def _run(student: Slim, input: InputSpec) -> None:  # noqa: A002
    """Raise what torch raises if the network has a fixed size in it that pruning changed without noticing."""
    depth = student(torch.zeros(2, 3, input.height, input.width))
    if depth.shape != (2, 1, input.height, input.width):
        raise ValueError(f"it would output {list(depth.shape)}")


def _reason(error: Exception) -> str:
    """What our own errors say; those of torch and torch-pruning with their type, as they can be very short."""
    if type(error) is ValueError:
        return str(error)
    return f"torch-pruning cannot follow it: {type(error).__name__}: {error}"


def _refusal(teacher: Teacher, reason: str) -> ModelError:
    another = "Pass --student mobile-m, or another one that is not cut from its teacher"
    if not batch_norm_layers(teacher.module):
        another += ", with --no-transformation or a file from edgekd statistics (--statistics)"
    imported = any(isinstance(part, fx.GraphModule) for part in teacher.module.modules())
    return ModelError(
        f"No student can be cut from {teacher.name} ({reason})",
        fix=another + (", or the teacher as package.module:factory" if imported else ""),
    )


def _mean(layer: nn.BatchNorm2d) -> Tensor:
    assert layer.running_mean is not None
    return layer.running_mean
