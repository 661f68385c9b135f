"""The BatchNorm layers that are added to a student cut from its teacher, and to that teacher to compare them with."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from edgekd.distill.batches import Batches
from edgekd.distill.moments import Moments, PooledMoments
from edgekd.distill.ranks import Ranks
from edgekd.distill.settings import DistillSettings
from edgekd.distill.start import in_parts, starting_batches
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.models.added_norms import AddedNorm, with_norms
from edgekd.models.evaluating import evaluating
from edgekd.models.teacher import Teacher

__all__ = ["fit_norms", "with_fitted_norms"]


def with_fitted_norms(
    teacher: Teacher, batches: Batches, settings: DistillSettings, device: torch.device, ranks: Ranks
) -> Teacher:
    """The teacher with AddedNorm layers that have the statistics of the pictures that a student is started on; the
    teacher itself where none are added."""
    found = with_norms(teacher)
    if found is teacher:
        return teacher
    found.module.to(device)
    if ranks.first:
        normalise = Normalise(teacher.input).to(device)
        pictures = (to_tensor(batch.mixed, device) for batch in starting_batches(batches, settings))
        fit_norms(found.module, in_parts(map(normalise, pictures), settings.accumulate))
    ranks.share(found.module.state_dict().values())
    return found


@torch.no_grad()
def fit_norms(network: nn.Module, pictures: Iterable[Tensor]) -> None:
    """Give each AddedNorm the statistics of its input over normalised `pictures`, batches [N, 3, H, W]."""
    seen: dict[AddedNorm, PooledMoments] = {}

    def before(layer: AddedNorm, inputs: tuple[Tensor, ...]) -> None:
        # Not `channel_moments`: its epsilon would drown the channels of a network that vary little.
        variance, mean = torch.var_mean(inputs[0].float(), (0, 2, 3), correction=0)
        seen.setdefault(layer, PooledMoments()).add(Moments(mean, variance), len(inputs[0]))

    with ExitStack() as hooks, evaluating(network):
        for layer in network.modules():
            if isinstance(layer, AddedNorm):
                hooks.callback(layer.register_forward_pre_hook(before).remove)
        for some in pictures:
            network(some)
    for norm, pooled in seen.items():
        moments = pooled.moments()
        norm.fit(moments.mean, moments.variance)
