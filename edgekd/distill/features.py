"""Holding the student's intermediate features to the teacher's, where both have something to compare.

A student cut out of its teacher has a counterpart of every channel: each BatchNorm output is held to the same channels
of the teacher's. Any other student is compared at each resolution with the teacher's standardised features, through a
1x1 convolution that is trained along and thrown away, at a quarter of the pixels where there are many. The teacher runs
before the student.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from calibration.errors import ModelError
from edgekd.distill.feature_difference import pick_channels, with_difference
from edgekd.distill.ranks import ALONE, Ranks
from edgekd.distill.statistics import Moments, channel_moments
from edgekd.models.checks import is_plain, varies
from edgekd.models.evaluating import run_once
from edgekd.models.slim import Slim

__all__ = ["FeatureMatch", "Pair", "encoder_pairs", "mirrored_pairs", "pairs_of"]

_SHARE = 1e-2  # of a layer's mean variance: the floor under a channel's, in the teacher's own unit, whatever that is
_LEAST = 1e-12  # variance of a layer that shows nothing at all
_FINE = 24  # columns, from which on projected features are compared at every second pixel of every second row


@dataclass(frozen=True)
class Pair:
    """A place in the student and its counterpart in the teacher, both by the name of a layer."""

    student: str
    teacher: str
    widths: tuple[int, int]  # channels of the student and of the teacher
    channels: tuple[int, ...] | None = None  # of the teacher, that the student's are; None: they are projected
    at: tuple[int, int] | None = None  # resolution of what is projected: one pooling may leave several; None: any


def pairs_of(student: nn.Module, teacher: nn.Module, size: tuple[int, int]) -> tuple[Pair, ...]:
    """Where to compare a student with its teacher; empty when there is no such place."""
    return mirrored_pairs(student, size) if isinstance(student, Slim) else encoder_pairs(student, teacher, size)


def mirrored_pairs(student: Slim, size: tuple[int, int]) -> tuple[Pair, ...]:
    """Every BatchNorm layer of a student that was cut out of its teacher, but for those that see views of a picture.

    Of a teacher that runs on a batch in parts, views stacked into the batch would come in another order.
    """
    stacked: set[nn.Module] = set()

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
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
        if layers[name] not in stacked
    )


def encoder_pairs(student: nn.Module, teacher: nn.Module, size: tuple[int, int]) -> tuple[Pair, ...]:
    """What goes into the first layer that leaves a resolution, where both networks have that resolution."""
    mine, theirs = _leaving(student, size), _leaving(teacher, size)
    return tuple(
        Pair(mine[at][0], theirs[at][0], (mine[at][1], theirs[at][1]), at=at)
        for at in mine
        if at in theirs and at != size
    )


class FeatureMatch(nn.Module):
    """Watches a student and its teacher, and gives the distance of what they last showed; the weights project."""

    def __init__(self, pairs: Sequence[Pair], teacher: nn.Module, seed: int = 0, ranks: Ranks = ALONE) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        self._ranks = ranks
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.projections = nn.ModuleList(
                nn.Identity() if pair.channels is not None else nn.Conv2d(*pair.widths, 1) for pair in pairs
            )
        self._does_more: set[int] = set()  # pairs whose BatchNorm is of a class of its own
        for index, pair in enumerate(pairs):
            if pair.channels is not None:
                if not is_plain(teacher.get_submodule(pair.teacher)):
                    self._does_more.add(index)
                channels = torch.tensor(pair.channels)
                self.register_buffer(f"channels_{index}", channels, persistent=False)
                variance = _variance(teacher, pair.teacher)
                # What a layer gives that was trained to give nothing has no unit.
                scale = _scale(variance) if varies(variance) else torch.zeros_like(variance)
                scale = scale[channels].view(-1, 1, 1)
                self.register_buffer(f"scale_{index}", scale, persistent=False)
        # By the number of the pair what was shown: by the student in its last run, by its teachers in every run since
        # the last batch, and in these taken together. Of teachers each time that a layer ran whose channels match.
        self._shown: dict[int, Tensor] = {}
        self._runs: list[dict[int, list[Tensor]]] = []
        self._taught: dict[int, list[Tensor]] = {}
        self._apart: list[Tensor] = []  # how far corresponding channels were from each other
        self._watching: list[RemovableHandle] = []
        self._running: nn.Module | None = None  # of those that are watched

    def watch_student(self, module: nn.Module) -> None:
        """From now on what `module` shows is compared; teachers must have run on the same pictures before it does."""
        names = [pair.student for pair in self.pairs]
        self._watch(module, self._before_student, names, self._keep_shown, self._compare)

    def watch_teacher(self, module: nn.Module) -> None:
        """From now on what `module` shows is what the student is compared with.

        Several may be watched; what they ran on, in the order in which they did, makes the batch of the student.
        """
        names = [pair.teacher for pair in self.pairs]
        self._watch(module, self._before_teacher, names, self._keep_input, self._keep_channels)

    def forget(self) -> None:
        """What teachers showed so far is not of the batch that the student is given next."""
        self._shown.clear()
        self._runs.clear()
        self._taught.clear()
        self._apart.clear()

    def release(self) -> None:
        """Watch nothing any more."""
        for handle in self._watching:
            handle.remove()
        self._watching.clear()
        self.forget()

    def forward(self) -> Tensor:
        """Mean over places and channels of the squared difference in units of the teacher's variance; a scalar.

        Raises ModelError where the student ran a layer without gradients that it is to be compared in.
        """
        for index, waiting in self._taught.items():
            if self.pairs[index].channels is not None and waiting:
                raise ModelError(
                    f"The student runs layer {self.pairs[index].student} without gradients, as checkpoint(..., "
                    "use_reentrant=True) does, and cannot be held to the teacher's features there",
                    fix="Compute it with use_reentrant=False, or distil with --no-features",
                )
        projected = [
            self._projected(index, projection)
            for index, (pair, projection) in enumerate(zip(self.pairs, self.projections, strict=True))
            if pair.channels is None
        ]
        apart = torch.stack(self._apart + projected).mean()
        self.forget()
        return apart

    def _watch(
        self,
        module: nn.Module,
        before: Callable[..., None],
        names: Sequence[str],
        projected: Callable[[int, Pair], Callable[..., Tensor | None]],
        mirrored: Callable[[int], Callable[..., Tensor | None]],
    ) -> None:
        """Call `before` when `module` runs, and see what the named layers are given, or give where channels match.

        Only while it runs: parts of a network that is checkpointed to save memory run once more backwards.
        """

        def begins(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            before(module, inputs)
            self._running = module

        def ends(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self._running = None

        def while_running(hook: Callable[..., Tensor | None]) -> Callable[..., Tensor | None]:
            return lambda *given: hook(*given) if self._running is module else None

        self._watching += [module.register_forward_pre_hook(begins), module.register_forward_hook(ends)]
        for index, (pair, name) in enumerate(zip(self.pairs, names, strict=True)):
            layer = module.get_submodule(name)
            if pair.channels is None:
                self._watching.append(layer.register_forward_pre_hook(while_running(projected(index, pair))))
            else:
                self._watching.append(layer.register_forward_hook(while_running(mirrored(index))))

    def _before_teacher(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._runs.append({})

    def _before_student(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._shown.clear()
        self._apart.clear()
        self._taught = {
            index: [_whole(parts) for parts in zip(*(run[index] for run in self._runs), strict=True)]
            for index in (self._runs[0] if self._runs else ())
        }
        self._runs.clear()

    def _projected(self, index: int, projection: nn.Module) -> Tensor:
        # In float32 before anything else: under autocast both were seen in bfloat16.
        mine: Tensor = projection(self._shown[index].float())
        theirs = self._taught[index][0].float()
        seen = self._ranks.moments(Moments(*channel_moments(theirs)))  # of the whole batch
        scale = _scale(seen.variance)
        # The projection gives standardised features. Were it to give the teacher's own, of FastDepth's, a hundredth of
        # what it starts from, it would drown the student in its own error.
        standardised = (theirs - seen.mean.view(-1, 1, 1)) * scale.view(-1, 1, 1)
        return with_difference(mine, standardised, torch.ones_like(scale).view(-1, 1, 1))[1]

    def _keep_channels(self, index: int) -> Callable[..., None]:
        def after(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            # Copied at once: what follows may work in place.
            picked = pick_channels(output.detach(), self.get_buffer(f"channels_{index}"))
            self._runs[-1].setdefault(index, []).append(picked)

        return after

    def _keep_input(self, index: int, pair: Pair) -> Callable[..., None]:
        def before(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if index not in self._runs[-1] and _is_at(pair, inputs[0]):
                self._runs[-1][index] = [_thinned(inputs[0].detach())]

        return before

    def _keep_shown(self, index: int, pair: Pair) -> Callable[..., None]:
        def before(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if index not in self._shown and _is_at(pair, inputs[0]):
                self._shown[index] = _thinned(inputs[0])

        return before

    def _compare(self, index: int) -> Callable[..., Tensor | None]:
        def after(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not output.requires_grad:
                return None  # it is only looked at
            theirs = self._taught[index].pop(0)
            if index in self._does_more:  # such as an activation, whose gradient needs its output untouched
                output = output.clone()
            output, apart = with_difference(output, theirs, self.get_buffer(f"scale_{index}"))
            self._apart.append(apart)
            return output

        return after


def _is_at(pair: Pair, features: Tensor) -> bool:
    return pair.at is None or features.shape[-2:] == pair.at


def _thinned(features: Tensor) -> Tensor:
    """Every second pixel of every second row of a fine map.

    By a pooling of one pixel: the gradient of a slice comes back as planes, which makes the BatchNorm before it slow.
    """
    return F.avg_pool2d(features, 1, 2) if features.shape[-1] >= _FINE else features


def _whole(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts))


def _scale(variance: Tensor) -> Tensor:
    """What a layer's differences are multiplied by, channel by channel."""
    return (variance + _SHARE * variance.mean() + _LEAST).rsqrt()


def _variance(teacher: nn.Module, name: str) -> Tensor:
    """The variance per channel that a BatchNorm layer gives its output: its squared weight."""
    layer = teacher.get_submodule(name)
    assert isinstance(layer, nn.BatchNorm2d)
    weight = torch.ones(layer.num_features) if layer.weight is None else layer.weight.detach()
    return weight.square()


def _leaving(network: nn.Module, size: tuple[int, int]) -> dict[tuple[int, int], tuple[str, int]]:
    """By resolution, the first layer that leaves it, and how many channels it is given; the lowest is left upwards."""
    found: dict[tuple[int, int], tuple[str, int]] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
            if not inputs:  # given by keyword, where the hooks of a match do not look
                return
            given = output[0] if isinstance(output, tuple) else output  # a pooling may tell places, too
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


_RESIZING = (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d, nn.Upsample)
