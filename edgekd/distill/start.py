"""How a student that is cut out of its teacher starts: whether it is solved for, its channels, and its pictures."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from calibration.progress import Progress
from edgekd.distill.batches import Batch, Batches
from edgekd.distill.ranks import Ranks
from edgekd.distill.reconstruction import solvable
from edgekd.distill.settings import DistillSettings, ReconstructionSettings
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.models.slim import Slim, choose_channels
from edgekd.models.teacher import Teacher

__all__ = ["in_parts", "keep_needed_channels", "starting_batches", "student_to_solve_for"]

_PIXELS = 1 << 23  # of all the pictures together, which bounds memory: the student runs on them at once


def student_to_solve_for(
    student: nn.Module, teacher: Teacher, settings: DistillSettings, progress: Progress
) -> Slim | None:
    """The student, if its first weights are to be solved for and at least half of its convolutions can be."""
    if not isinstance(student, Slim) or settings.reconstruction is None:
        return None
    able, convolutions = solvable(student, teacher.module, (teacher.input.height, teacher.input.width))
    if 2 * able >= convolutions:
        return student
    progress.note(
        f"Only {able} of the student's {convolutions} convolutions can be solved for: it keeps the teacher's weights"
    )
    return None


def keep_needed_channels(
    student: Slim, teacher: Teacher, batches: Batches, settings: DistillSettings, device: torch.device, ranks: Ranks
) -> None:
    """Keep the teacher's channels that the student needs most on simulated pictures."""
    if ranks.first:
        teacher.module.to(device)
        normalise = Normalise(teacher.input).to(device)
        pictures = (to_tensor(batch.simulated, device) for batch in starting_batches(batches, settings))
        choose_channels(student, teacher, in_parts(map(normalise, pictures), settings.accumulate))
    student.to(device)  # where several processes can share it
    ranks.share(student.state_dict().values())


def starting_batches(batches: Batches, settings: DistillSettings) -> list[Batch]:
    """Batches of the pictures that a student is started on: at least two pictures, fewer where they are large."""
    wanted = (settings.reconstruction or ReconstructionSettings()).pictures
    first = batches.batch(0)
    height, width = first.simulated.shape[1:3]
    pictures = max(2, min(wanted, _PIXELS // (height * width)))
    starts = range(settings.batch, pictures, settings.batch)
    others = [batches.batch(start // settings.batch).first(pictures - start) for start in starts]
    return [first.first(pictures), *others]


def in_parts(pictures: Iterable[Tensor], accumulate: int) -> list[Tensor]:
    """Split batches [N, 3, H, W] into the parts of a step: the teacher runs on no more pictures at a time."""
    return [part for some in pictures for part in some.chunk(accumulate)]
