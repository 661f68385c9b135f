"""Holding the student's intermediate features to the teacher's, where both have something to compare.

Every channel of a student cut out of its teacher has a counterpart there: each BatchNorm output is held to the same
channels of the teacher's. Any other student is compared with the teacher's standardised features at each resolution
they share, through a 1x1 convolution that is trained with it and then discarded; fine maps are compared at a quarter of
their pixels. The teacher runs before the student.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from calibration.errors import ModelError
from edgekd.distill.feature_difference import pick_channels, with_difference
from edgekd.distill.feature_pairs import Pair
from edgekd.distill.moments import Moments, channel_moments
from edgekd.distill.ranks import ALONE, Ranks
from edgekd.models.batch_norm import is_plain, varies

__all__ = ["FeatureMatch"]

_SHARE = 1e-2  # of a layer's mean variance, added to each channel's: relative, since teachers differ in scale
_LEAST = 1e-12  # added to a variance, for layers whose output is constant
_FINE = 24  # columns; from this width on, projected features are compared at every second pixel of every second row


class FeatureMatch(nn.Module):
    """Watches a student and its teacher and measures how far apart their features are; its weights are projections."""

    def __init__(self, pairs: Sequence[Pair], teacher: nn.Module, seed: int = 0, ranks: Ranks = ALONE) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        self._ranks = ranks
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.projections = nn.ModuleList(
                nn.Identity() if pair.channels is not None else nn.Conv2d(*pair.widths, 1) for pair in pairs
            )
        self._does_more: set[int] = set()  # pairs whose BatchNorm is a subclass that may do more
        for index, pair in enumerate(pairs):
            if pair.channels is not None:
                if not is_plain(teacher.get_submodule(pair.teacher)):
                    self._does_more.add(index)
                channels = torch.tensor(pair.channels)
                self.register_buffer(f"channels_{index}", channels, persistent=False)
                variance = _variance(teacher, pair.teacher)
                # A layer trained to give a constant has no scale: it does not count.
                scale = _scale(variance) if varies(variance) else torch.zeros_like(variance)
                scale = scale[channels].view(-1, 1, 1)
                self.register_buffer(f"scale_{index}", scale, persistent=False)
        # Features by number of the pair: the student's of its last run, the teachers' of each run since the last batch,
        # and those of these runs joined. A teacher's layer with matching channels has one entry for each time it ran.
        self._shown: dict[int, Tensor] = {}
        self._runs: list[dict[int, list[Tensor]]] = []
        self._taught: dict[int, list[Tensor]] = {}
        self._apart: list[Tensor] = []  # distances between matching channels
        self._watching: list[RemovableHandle] = []
        self._running: nn.Module | None = None  # the watched network that is running

    def watch_student(self, module: nn.Module) -> None:
        """Compare the features of `module` from now on; the teachers must run on the same pictures before it does."""
        names = [pair.student for pair in self.pairs]
        self._watch(module, self._before_student, names, self._keep_shown, self._compare)

    def watch_teacher(self, module: nn.Module) -> None:
        """Compare the student with the features of `module` from now on.

        Several may be watched: the pictures they ran on, joined in that order, are the student's batch.
        """
        names = [pair.teacher for pair in self.pairs]
        self._watch(module, self._before_teacher, names, self._keep_input, self._keep_channels)

    def forget(self) -> None:
        """Discard all features so far: they are not of the batch that the student runs on next."""
        self._shown.clear()
        self._runs.clear()
        self._taught.clear()
        self._apart.clear()

    def release(self) -> None:
        """Stop watching."""
        for handle in self._watching:
            handle.remove()
        self._watching.clear()
        self.forget()

    def forward(self) -> Tensor:
        """Mean over places and channels of the squared difference, in units of the teacher's variance; a scalar.

        Raises ModelError where the student ran a compared layer without gradients.
        """
        for index, waiting in self._taught.items():
            if self.pairs[index].channels is not None and waiting:
                raise ModelError(
                    f"The student runs layer {self.pairs[index].student} without gradients, as checkpoint(..., "
                    "use_reentrant=True) does, and cannot be matched to the teacher's features there",
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
        before: Callable[[], None],
        names: Sequence[str],
        projected: Callable[[int, Pair], Callable[..., Tensor | None]],
        mirrored: Callable[[int], Callable[..., Tensor | None]],
    ) -> None:
        """Call `before` when `module` runs, and watch the named layers: their input, or output where channels match.

        Only while `module` runs: activation checkpointing runs parts of it again in the backward pass.
        """

        def begins(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            before()
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

    def _before_teacher(self) -> None:
        self._runs.append({})

    def _before_student(self) -> None:
        self._shown.clear()
        self._apart.clear()
        self._taught = {
            index: [_whole(parts) for parts in zip(*(run[index] for run in self._runs), strict=True)]
            for index in (self._runs[0] if self._runs else ())
        }
        self._runs.clear()

    def _projected(self, index: int, projection: nn.Module) -> Tensor:
        # Convert to float32 first: under autocast both are bfloat16.
        mine: Tensor = projection(self._shown[index].float())
        theirs = self._taught[index][0].float()
        seen = self._ranks.moments(Moments(*channel_moments(theirs)))  # of the whole batch
        scale = _scale(seen.variance)
        # The projection predicts standardised features. FastDepth's own are a hundredth of what it gives at the start:
        # its error would drown out the student's.
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
                return None  # a run without gradients, such as a prediction
            theirs = self._taught[index].pop(0)
            if index in self._does_more:  # such as an activation, whose gradient needs its output unmodified
                output = output.clone()
            output, apart = with_difference(output, theirs, self.get_buffer(f"scale_{index}"))
            self._apart.append(apart)
            return output

        return after


def _is_at(pair: Pair, features: Tensor) -> bool:
    return pair.at is None or features.shape[-2:] == pair.at


def _thinned(features: Tensor) -> Tensor:
    """Every second pixel of every second row of a fine map.

    By pooling single pixels: the gradient of a slice is laid out as planes, which slows down the BatchNorm before it.
    """
    return F.avg_pool2d(features, 1, 2) if features.shape[-1] >= _FINE else features


def _whole(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts))


def _scale(variance: Tensor) -> Tensor:
    """The factor for a layer's differences, by channel."""
    return (variance + _SHARE * variance.mean() + _LEAST).rsqrt()


def _variance(teacher: nn.Module, name: str) -> Tensor:
    """The variance by channel of a BatchNorm layer's output: its squared weight."""
    layer = teacher.get_submodule(name)
    assert isinstance(layer, nn.BatchNorm2d)
    weight = torch.ones(layer.num_features) if layer.weight is None else layer.weight.detach()
    return weight.square()
