"""The first weights of a student that is cut out of its teacher: by least squares, before any training.

Each convolution of the student reads fewer channels than the teacher's, and the layers before it have changed their
values. Its weights are fitted to the teacher's output, over some pictures, in the channels that the student has, one
layer after another (after He, Zhang and Sun, Channel Pruning for Accelerating Very Deep Neural Networks, ICCV 2017).
The student runs once: each layer is solved for when it is reached, on the output of those before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.distill.convolution_call import ConvolutionCall, call_of
from edgekd.models.batch_norm import normalises_alone
from edgekd.models.evaluating import device_of, evaluating
from edgekd.models.given import given_to
from edgekd.models.slim import Slim
from edgekd.models.stored import layers_as_run

__all__ = ["reconstruct", "solvable"]

_PLACES = 1 << 14  # output pixels that a layer is fitted at, over all pictures; more for large layers
_PER_UNKNOWN = 8  # at least this many of them for each weight of an output channel
_MOST_UNKNOWNS = 4608  # 512 channels in 3x3: time grows with the cube of them, memory with the square
_AT_ONCE = 1 << 24  # values that are gathered at once
_TINY = 1e-12


@dataclass(frozen=True)
class _Layer:
    """A convolution that student and teacher have by the same name, and the BatchNorm that reads it."""

    name: str
    norm: str | None
    channels: tuple[int, ...]  # of the teacher's output, that match the student's
    shifts: bool  # whether a constant can be added to its output, by its bias or the BatchNorm


class _TeacherOutputs:
    """A teacher's output at some places of each layer that its student is solved for."""

    def __init__(self, student: Slim, teacher: nn.Module, pictures: int, size: tuple[int, int]) -> None:
        """`pictures` is how many there will be in all, of `size` (height, width)."""
        self.layers = _layers(student, teacher, size)
        self._teacher = teacher
        self._pictures = pictures
        self._given: dict[str, list[Tensor]] = {layer.name: [] for layer in self.layers}
        self._places: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, pictures: Tensor) -> None:
        """Run the teacher on some of the pictures, normalised [n, 3, H, W]."""
        with ExitStack() as hooks:
            for layer in self.layers:
                module = self._teacher.get_submodule(layer.name)
                hooks.callback(module.register_forward_hook(self._keep(layer)).remove)
            self._teacher(pictures)

    def of(self, layer: _Layer) -> Tensor:
        """The teacher's output of one layer in the student's channels, [N, channels, places]."""
        return torch.cat(self._given[layer.name])

    def places(self, layer: _Layer) -> Tensor:
        """The pixels of the output that `of` gives, counted row by row: the same in every picture."""
        return self._places[layer.name]

    def _keep(self, layer: _Layer) -> Callable[..., None]:
        def hook(module: nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if layer.name not in self._places:
                self._places[layer.name] = self._chosen(module, output)
            channels = torch.tensor(layer.channels, device=output.device)
            given = output.index_select(1, channels).flatten(2)[:, :, self._places[layer.name]]
            self._given[layer.name].append(given)

        return hook

    def _chosen(self, convolution: nn.Conv2d, output: Tensor) -> Tensor:
        pixels = output.shape[2] * output.shape[3]
        unknowns = min(convolution.weight[0].numel(), _MOST_UNKNOWNS)
        wanted = -(-max(_PLACES, _PER_UNKNOWN * unknowns) // self._pictures)
        chosen = torch.randperm(pixels, generator=torch.Generator().manual_seed(0))[:wanted]
        return chosen.sort().values.to(output.device)


@torch.no_grad()
def reconstruct(
    student: Slim,
    teacher: nn.Module,
    pictures: Sequence[Tensor],
    ridge: float,
    after_each: Callable[[], None] = lambda: None,
) -> None:
    """Solve for the student's weights, in place, on normalised pictures: a sequence of [N, 3, H, W].

    The teacher runs on one part after another, each followed by `after_each`; the student then runs on all at once.
    `ridge` draws each weight towards its present value, the teacher's; it is a share of the mean energy of the layer's
    input. Afterwards BatchNorm layers give the same over these pictures in training as in evaluation.
    """
    size = (pictures[0].shape[2], pictures[0].shape[3])
    taught = _TeacherOutputs(student, teacher, sum(map(len, pictures)), size)
    for some in pictures:
        taught.add(some)
        after_each()

    def solving(layer: _Layer) -> Callable[..., Tensor]:
        def hook(module: nn.Conv2d, inputs: tuple[Any, ...], named: Mapping[str, Any], output: Tensor) -> Tensor:
            x = given_to(inputs, named)
            wanted, places = taught.of(layer), taught.places(layer)
            call = call_of(module, x) if module.weight[0].numel() <= _MOST_UNKNOWNS else None
            if call is not None:
                shift = _solve(module, call, wanted, places, ridge, shifts=layer.shifts)
            else:
                shift = _rescale(module, output.flatten(2)[:, :, places], wanted, shifts=layer.shifts)
            output = module.forward(x)  # calling the module would run this hook again
            if layer.norm is not None:
                norm = student.network.get_submodule(layer.norm)
                assert isinstance(norm, nn.BatchNorm2d)
                _refit_norm(norm, output, shift)
            return output

        return hook

    with ExitStack() as hooks, evaluating(student):
        for layer in taught.layers:
            module = student.network.get_submodule(layer.name)
            hooks.callback(module.register_forward_hook(solving(layer), with_kwargs=True).remove)
        student(torch.cat(tuple(pictures)))


def solvable(student: Slim, teacher: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
    """How many of the student's convolutions can be solved for, and how many it has. `size` is height and width."""
    convolutions = sum(isinstance(module, nn.Conv2d) for module in student.network.modules())
    return len(_layers(student, teacher, size)), convolutions


def _layers(student: Slim, teacher: nn.Module, size: tuple[int, int]) -> tuple[_Layer, ...]:
    """The layers that can be solved for: they run once, and the student has all or part of their output channels."""
    network, kept = student.network, student.kept
    names = {module: name for name, module in network.named_modules()}
    runs: Counter[str] = Counter()  # on pictures: views of one that are stacked into the batch count separately
    own: set[str] = set()  # convolutions with their own weights, and no more
    found = []

    def note_call(name: str, layer: nn.Conv2d, inputs: tuple[Any, ...], named: Mapping[str, Any], _: Tensor) -> None:
        if call_of(layer, given_to(inputs, named)) is not None:
            own.add(name)

    with ExitStack() as hooks, evaluating(student), torch.no_grad():
        for module, name in names.items():
            if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
                hooks.callback(module.register_forward_hook(partial(_count, runs, name)).remove)
            if isinstance(module, nn.Conv2d):
                hooks.callback(module.register_forward_hook(partial(note_call, name), with_kwargs=True).remove)
        example = torch.zeros(1, 3, *size, device=device_of(network))
        for layer in layers_as_run(network, example):
            theirs = teacher.get_submodule(layer.name)
            assert isinstance(theirs, nn.Conv2d)
            norm, biased = layer.counted_by, layer.convolution.bias is not None
            if runs[layer.name] != 1 or layer.name not in own:
                continue
            if norm is None:
                if theirs.out_channels == layer.convolution.out_channels:
                    found.append(_Layer(layer.name, None, tuple(range(theirs.out_channels)), biased))
            elif names[norm] in kept and runs[names[norm]] == 1 and norm.affine and normalises_alone(norm):
                direct = layer.norm is not None
                channels = kept[names[norm]]
                found.append(_Layer(layer.name, names[norm] if direct else None, channels, direct or biased))
    return tuple(found)


def _count(
    runs: Counter[str], name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]
) -> None:
    runs[name] += len(output)


def _solve(
    convolution: nn.Conv2d,
    call: ConvolutionCall,
    wanted: Tensor,
    places: Tensor,
    ridge: float,
    *,
    shifts: bool = True,
) -> Tensor:
    """Set the weights with which `convolution`, in this call, comes nearest to `wanted` [N, C, places].

    Returns the constant [C] still to be added to its output: 0 where it has a bias, or where `shifts` is false.
    """
    groups, outputs = convolution.groups, convolution.out_channels
    unknowns = convolution.weight[0].numel()
    energy = torch.zeros(groups, unknowns + 1, unknowns + 1, dtype=torch.float64, device=wanted.device)
    product = torch.zeros(groups, unknowns + 1, outputs // groups, dtype=torch.float64, device=wanted.device)
    some = max(1, _AT_ONCE // (groups * unknowns * len(places)))
    for first in range(0, len(wanted), some):
        pictures = slice(first, first + some)
        read = call.columns(pictures, places).unflatten(1, (groups, -1))  # [n, groups, unknowns, places]
        read = F.pad(read.double(), (0, 0, 0, 1), value=float(shifts)).permute(1, 2, 0, 3).flatten(2)
        aims = wanted[pictures].double().unflatten(1, (groups, -1)).permute(1, 2, 0, 3).flatten(2)
        energy += read @ read.transpose(1, 2)
        product += read @ aims.transpose(1, 2)
    weight = convolution.weight.double().flatten(1).unflatten(0, (groups, -1)).transpose(1, 2)
    held = ridge * energy.diagonal(dim1=1, dim2=2)[:, :-1].mean(1, keepdim=True) + _TINY
    held = torch.cat([held.expand(-1, unknowns), torch.full_like(held, _TINY)], 1)  # no ridge on the constant
    start = F.pad(weight, (0, 0, 0, 1))
    energy.diagonal(dim1=1, dim2=2).add_(held)
    solved = torch.linalg.solve(energy, product + held.unsqueeze(2) * start)
    convolution.weight.copy_(solved[:, :-1].transpose(1, 2).reshape(convolution.weight.shape))
    return _shifted(convolution, solved[:, -1].flatten().to(wanted.dtype))


def _rescale(convolution: nn.Conv2d, given: Tensor, wanted: Tensor, *, shifts: bool = True) -> Tensor:
    """Scale each output's weights as a whole, so that `given` comes nearest to `wanted`, both [N, C, places].

    For layers with too many weights to solve for one by one. Returns what is still to be added, as `_solve` does.
    """
    read, aims = given.double(), wanted.double()
    mean, aim = (float(shifts) * part.mean((0, 2), keepdim=True) for part in (read, aims))
    product = ((read - mean) * (aims - aim)).mean((0, 2))
    scale = product / ((read - mean).square().mean((0, 2)) + _TINY)
    convolution.weight.mul_(scale.view(-1, 1, 1, 1))
    bias = 0 if convolution.bias is None else convolution.bias * scale
    return _shifted(convolution, (bias + aim.flatten() - scale * mean.flatten()).to(given.dtype))


def _shifted(convolution: nn.Conv2d, shift: Tensor) -> Tensor:
    """Make `shift` the bias and return 0, or return `shift` where the convolution has no bias."""
    if convolution.bias is None:
        return shift
    convolution.bias.copy_(shift)
    return torch.zeros_like(shift)


def _refit_norm(norm: nn.BatchNorm2d, output: Tensor, shift: Tensor) -> None:
    """Give a BatchNorm layer the statistics of `output`, and make it map `output` as it did `output` + `shift`."""
    assert norm.running_mean is not None and norm.running_var is not None
    variance, mean = torch.var_mean(output, (0, 2, 3), correction=0)
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    norm.bias.add_(scale * (mean + shift - norm.running_mean))
    norm.weight.copy_(scale * (variance + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
