"""Whether a teacher computes in the number format that it is to be trained with."""

from __future__ import annotations

import torch

from calibration.errors import ModelError
from calibration.reasons import first_line, out_of_memory
from edgekd.distill.device import autocast, training_dtype
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.models.pictures import probe_pictures
from edgekd.models.teacher import Teacher

__all__ = ["require_precision"]


@torch.no_grad()
def require_precision(teacher: Teacher, device: torch.device, precision: str, *, fix: str) -> None:
    """Run the teacher once as in training, before anything is rendered for it; it is back on the CPU afterwards.

    Raises ModelError with `fix` for a teacher with an operation that does not exist in bfloat16.
    """
    if training_dtype(device, precision) is not torch.bfloat16:
        return
    picture = to_tensor(probe_pictures(teacher.input.height, teacher.input.width, 1), device)
    try:
        with autocast(device, precision):
            teacher.module.to(device)(Normalise(teacher.input).to(device)(picture))
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        reason = first_line(error).rstrip(".")
        raise ModelError(f"{teacher.name} does not compute in bfloat16 ({reason})", fix=fix) from error
    finally:
        teacher.module.cpu()
