"""Measuring a teacher's statistics on pictures that stay where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from calibration.errors import DataError, ModelError, UsageError
from calibration.files import sha256_bytes
from calibration.progress import Progress
from edgekd.distill.device import choose_device, exact_float32
from edgekd.distill.settings import DistillSettings
from edgekd.distill.statistics import PooledMoments, StoredStatistics, observe
from edgekd.distill.statistics_file import LEAST_PICTURES, StatisticsFile, layers_to_measure
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.models.checks import varies
from edgekd.models.teacher import Teacher
from edgekd.pictures import list_pictures, read_picture, remark_on_folders

__all__ = ["chosen_statistics", "measure_statistics", "require_use"]


@torch.no_grad()
def require_use(file: Path | None, settings: DistillSettings) -> None:
    """Raise UsageError, before a teacher is loaded, for a file of statistics that nothing will be fitted to."""
    if file is not None and settings.transform is None:
        raise UsageError(
            f"{file} is what the transformation is fitted to, and it is off",
            fix="Leave --statistics or --no-transformation out",
        )


def chosen_statistics(file: Path | None, teacher: Teacher) -> StoredStatistics | None:
    """What a file says of this teacher; None without a file.

    Raises FileError or ModelError for a file that is damaged or of another teacher.
    """
    return None if file is None else StatisticsFile.read(file).for_teacher(teacher)


@exact_float32()
def measure_statistics(
    teacher: Teacher, folder: Path, progress: Progress, *, device: str = "auto", batch: int = 8
) -> StatisticsFile:
    """Means and variances of what the teacher's layers are given, over every picture in `folder`.

    A picture that cannot be read is named and left out. Raises DataError when fewer than eight are left.
    """
    where = choose_device(device)
    module = teacher.module.to(where)
    names = layers_to_measure(teacher)
    observed, normalise = observe(module, names), Normalise(teacher.input).to(where)
    paths, framed = list_pictures(folder), []
    remark_on_folders(folder, progress)
    pooled, distinct = PooledMoments(), set[str]()
    with progress.task("Measuring", total=len(paths)) as advance:
        for number, path in enumerate(paths):
            try:
                framed.append(teacher.input.framing.image(read_picture(path)))
                distinct.add(sha256_bytes(framed[-1].tobytes()))
            except DataError as error:
                progress.note(str(error))
            if framed and (len(framed) == batch or number == len(paths) - 1):
                _, moments = observed(normalise(to_tensor(np.stack(framed), where)))
                pooled.add(moments, len(framed))
                framed = []
            advance(1)
    if pooled.count < LEAST_PICTURES:
        raise DataError(
            f"{pooled.count} of {len(paths)} pictures in {folder} could be read: statistics of so few would be those "
            "of single pictures",
            fix=f"Give at least {LEAST_PICTURES}, better some hundreds",
        )
    if len(distinct) < LEAST_PICTURES:
        raise DataError(
            f"Only {len(distinct)} of the {pooled.count} pictures of {folder} differ: their statistics would be those "
            "of single pictures",
            fix=f"Give at least {LEAST_PICTURES} different ones, better some hundreds",
        )
    whole = pooled.moments()
    mean, variance = whole.mean, whole.variance
    if not (torch.isfinite(mean).all() and torch.isfinite(variance).all()):
        raise ModelError(
            f"What {teacher.name} computes on the pictures of {folder} is not finite", fix="Check its weights and input"
        )
    still = [name for name, spread in zip(names, variance.split(observed.sizes), strict=True) if not varies(spread)]
    if still:
        raise DataError(
            f"Nothing that {still[0]} of {teacher.name} is given changes over the pictures of {folder}",
            fix="Give pictures that differ, or check the teacher's weights",
        )
    layers = zip(names, mean.float().split(observed.sizes), variance.float().split(observed.sizes), strict=True)
    statistics = StoredStatistics.of({name: (middle, spread) for name, middle, spread in layers})
    return StatisticsFile(teacher.name, teacher.digest, pooled.count, statistics)
