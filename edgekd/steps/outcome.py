"""Checks a teacher before its student is trained, and the student before it is kept."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from calibration.errors import ModelError
from calibration.progress import Progress
from edgekd.distill.losses import log_depth
from edgekd.models.teacher import Teacher
from edgekd.steps.training import require_finite, run_depth

__all__ = ["require_learnt", "require_taught"]

_SAME = 1e-3  # of the depth; depth that varies less counts as constant


def require_taught(teacher: Teacher, pictures: NDArray[np.uint8]) -> None:
    """Raise ModelError if the teacher's depth of the pictures uint8 [N, H, W, 3] is not finite.

    Before training, because `require_learnt` refuses every student of such a teacher. Leaves the teacher on the CPU.
    """
    with torch.random.fork_rng(devices=[]):  # dropout that is always on draws, and a student's draws must not change
        require_finite(run_depth(teacher.module, teacher.input, pictures), teacher)


def require_learnt(student: nn.Module, teacher: Teacher, pictures: NDArray[np.uint8], progress: Progress) -> None:
    """Raise ModelError if the student's depth is not finite, or is constant over the pictures uint8 [N, H, W, 3].

    Also raises ModelError if the teacher's depth is not finite, and notes when the student is no closer to its teacher
    than the best single depth would be. Leaves both networks on the CPU.
    """
    depth = run_depth(student, teacher.input, pictures)
    anew = "Start over with a lower --learning-rate and --force"
    if not np.isfinite(depth).all():
        raise ModelError("The student outputs NaN or infinite depth: its training diverged", fix=anew)
    if float(np.ptp(depth)) <= _SAME * float(np.abs(depth).max()):
        raise ModelError(
            f"The student outputs {float(depth.flat[0]):.3g} m for every pixel of every picture: its training diverged",
            fix=anew,
        )
    mine = log_depth(torch.from_numpy(depth))
    taught_depth = run_depth(teacher.module, teacher.input, pictures)
    require_finite(taught_depth, teacher)
    taught = log_depth(torch.from_numpy(taught_depth))
    student_error, constant_error = (float((found - taught).abs().mean()) for found in (mine, taught.median()))
    if student_error >= constant_error:
        progress.note(
            f"The student is no closer to {teacher.name} than one depth for all pixels would be (off by "
            f"{student_error:.2f} in the logarithm, and that by {constant_error:.2f}): use more --steps, or another "
            "--learning-rate"
        )
