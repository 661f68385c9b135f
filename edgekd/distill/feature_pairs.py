"""Where a student has a counterpart in its teacher, to compare features at."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from torch import Tensor, nn

from edgekd.models.evaluating import run_once
from edgekd.models.slim import Slim

__all__ = ["Pair", "encoder_pairs", "mirrored_pairs", "pairs_of"]

_RESIZING = (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d, nn.Upsample)


@dataclass(frozen=True)
class Pair:
    """A layer of the student and its counterpart in the teacher, by name."""

    student: str
    teacher: str
    widths: tuple[int, int]  # channels of the student and of the teacher
    channels: tuple[int, ...] | None = None  # the teacher's that match the student's; None: they are projected
    at: tuple[int, int] | None = None  # resolution to project at, as a pooling may run at several; None: any


def pairs_of(student: nn.Module, teacher: nn.Module, size: tuple[int, int]) -> tuple[Pair, ...]:
    """Where to compare a student with its teacher; empty when there is no such place."""
    return mirrored_pairs(student, size) if isinstance(student, Slim) else encoder_pairs(student, teacher, size)


def mirrored_pairs(student: Slim, size: tuple[int, int]) -> tuple[Pair, ...]:
    """Every BatchNorm layer that runs in a student cut out of its teacher, except those that see several views.

    If the teacher runs on a batch in parts, views stacked into the batch come in a different order.
    """
    ran: set[nn.Module] = set()
    stacked: set[nn.Module] = set()

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ran.add(layer)
        if len(output) != 1:
            stacked.add(layer)

    layers = {name: student.network.get_submodule(name) for name in student.kept}
    with ExitStack() as hooks:
        for layer in layers.values():
            hooks.callback(layer.register_forward_hook(note).remove)
        run_once(student, size)
    return tuple(
        Pair(f"network.{name}", name, (len(channels), len(channels)), channels)
        for name, channels in student.kept.items()
        if layers[name] in ran - stacked
    )


def encoder_pairs(student: nn.Module, teacher: nn.Module, size: tuple[int, int]) -> tuple[Pair, ...]:
    """Pair the inputs of the first layers to leave each resolution, other than the input's, that both networks have."""
    mine, theirs = _leaving(student, size), _leaving(teacher, size)
    return tuple(
        Pair(mine[at][0], theirs[at][0], (mine[at][1], theirs[at][1]), at=at)
        for at in mine
        if at in theirs and at != size
    )


def _leaving(network: nn.Module, size: tuple[int, int]) -> dict[tuple[int, int], tuple[str, int]]:
    """By resolution, the first layer that leaves it and its input channels; the lowest is left by upsampling."""
    found: dict[tuple[int, int], tuple[str, int]] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
            if not inputs:  # given by keyword, which FeatureMatch's hooks do not see
                return
            given = output[0] if isinstance(output, tuple) else output  # a pooling may also return indices
            before, after = inputs[0].shape, given.shape
            if before[0] != 1:  # views of a picture, see `mirrored_pairs`
                return
            if after[-1] != before[-1] and before[1] > 1:  # one channel is the depth itself
                found.setdefault((int(before[-2]), int(before[-1])), (name, int(before[1])))

        return hook

    with ExitStack() as hooks:
        for name, layer in network.named_modules():
            if isinstance(layer, _RESIZING):
                hooks.callback(layer.register_forward_hook(note(name)).remove)
        run_once(network, size)
    return found
