"""Where a student that is cut out of its teacher starts: whether it is solved for, its channels, and its pictures."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from calibration.progress import Progress
from edgekd.distill.batches import Batch, Batches
from edgekd.distill.ranks import Ranks
from edgekd.distill.reconstruction import solvable
from edgekd.distill.settings import DistillSettings
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.models.slim import Slim, choose_channels
from edgekd.models.teacher import Teacher

__all__ = ["in_parts", "keep_needed_channels", "starting_batches", "student_to_solve_for"]

_PIXELS = 1 << 23  # of all the pictures together: the student runs on them at once, and memory is short


def student_to_solve_for(
    student: nn.Module, teacher: Teacher, settings: DistillSettings, progress: Progress
) -> Slim | None:
    """The student, where its first weights are to be solved for and half of its convolutions or more can be."""
    if not isinstance(student, Slim) or settings.reconstruction is None:
        return None
    able, convolutions = solvable(student, teacher.module, (teacher.input.height, teacher.input.width))
    if 2 * able >= convolutions:
        return student
    progress.note(
        f"Only {able} of the student's {convolutions} convolutions can be solved for: it starts as it was cut"
    )
    return None


def keep_needed_channels(
    student: Slim, teacher: Teacher, batches: Batches, settings: DistillSettings, device: torch.device, ranks: Ranks
) -> None:
    """Keep those of the teacher's channels that the student needs on simulated pictures."""
    if ranks.first:
        teacher.module.to(device)
        normalise = Normalise(teacher.input).to(device)
        pictures = (to_tensor(batch.simulated, device) for batch in starting_batches(batches, settings))
        choose_channels(student, teacher, in_parts(map(normalise, pictures), settings.accumulate))
    student.to(device)  # where several processes can share it
    ranks.share(student.state_dict().values())


def starting_batches(batches: Batches, settings: DistillSettings) -> list[Batch]:
    """Batches whose pictures a student is started on: fewer of large ones, at least two."""
    assert settings.reconstruction is not None
    first = batches.batch(0)
    height, width = first.simulated.shape[1:3]
    pictures = max(2, min(settings.reconstruction.pictures, _PIXELS // (height * width)))
    starts = range(settings.batch, pictures, settings.batch)
    others = [batches.batch(start // settings.batch).first(pictures - start) for start in starts]
    return [first.first(pictures), *others]


def in_parts(pictures: Iterable[Tensor], accumulate: int) -> list[Tensor]:
    """Batches [N, 3, H, W] in as many parts each as a step has: the teacher runs on no more pictures at a time."""
    return [part for some in pictures for part in some.chunk(accumulate)]
