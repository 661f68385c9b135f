"""What a student cut from its teacher is held to where that has no BatchNorm: layers that are added to both."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

from edgekd.distill.batches import Batches
from edgekd.distill.ranks import Ranks
from edgekd.distill.settings import DistillSettings
from edgekd.distill.start import in_parts, starting_batches
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.models.added_norms import add_norms, fit_norms
from edgekd.models.slim import Slim, choose_channels
from edgekd.models.teacher import Teacher

__all__ = ["with_norms"]


def with_norms(
    teacher: Teacher,
    student: nn.Module,
    batches: Batches,
    settings: DistillSettings,
    device: torch.device,
    ranks: Ranks,
) -> Teacher:
    """The teacher with the BatchNorm layers that were added to a student cut from it; itself if there are none.

    Both get their statistics on the pictures that the student is started on.
    """
    if not isinstance(student, Slim):
        return teacher
    network = copy.deepcopy(teacher.module).to(device)
    if not add_norms(network, teacher.input):
        return teacher
    if ranks.first:
        normalise = Normalise(teacher.input).to(device)
        pictures = (to_tensor(batch.mixed, device) for batch in starting_batches(batches, settings))
        fit_norms(network, in_parts(map(normalise, pictures), settings.accumulate))
    ranks.share(network.state_dict().values())
    taught = replace(teacher, module=network)
    choose_channels(student, taught, ())
    return taught
