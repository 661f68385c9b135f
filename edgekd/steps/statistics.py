"""Measures a teacher's statistics on private pictures, which stay on this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from calibration.errors import DataError, ModelError, UsageError
from calibration.files import sha256_bytes
from calibration.progress import Progress
from calibration.wording import counted
from edgekd.distill.device import choose_device, exact_float32
from edgekd.distill.moments import PooledMoments
from edgekd.distill.observing import observe
from edgekd.distill.settings import DistillSettings
from edgekd.distill.statistics import StoredStatistics
from edgekd.distill.statistics_file import LEAST_PICTURES, StatisticsFile, layers_to_measure
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.models.batch_norm import varies
from edgekd.models.teacher import Teacher
from edgekd.pictures import list_pictures, read_picture, remark_on_folders

__all__ = ["chosen_statistics", "measure_statistics", "require_use"]


def require_use(file: Path | None, settings: DistillSettings) -> None:
    """Raise UsageError, before a teacher is loaded, for a statistics file that these settings do not use."""
    if file is not None and settings.transform is None:
        raise UsageError(
            f"{file} is for the transformation, which is off",
            fix="Omit --statistics or --no-transformation",
        )


def chosen_statistics(file: Path | None, teacher: Teacher) -> StoredStatistics | None:
    """The file's statistics for this teacher; None without a file.

    Raises FileError or ModelError for a file that is damaged or belongs to another teacher.
    """
    return None if file is None else StatisticsFile.read(file).for_teacher(teacher)


@exact_float32()
@torch.no_grad()
def measure_statistics(
    teacher: Teacher, folder: Path, progress: Progress, *, device: str = "auto", batch: int = 8
) -> StatisticsFile:
    """Means and variances of the inputs of the teacher's layers, over every picture in `folder`.

    Unreadable pictures are skipped with a note. Raises DataError when fewer than eight are left, or fewer than eight
    differ.
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
            f"{pooled.count} of {counted(len(paths), 'picture')} in {folder} could be read, which is too few: "
            "their statistics would be those of single pictures",
            fix=f"Use at least {LEAST_PICTURES}, preferably hundreds",
        )
    if len(distinct) < LEAST_PICTURES:
        raise DataError(
            f"Only {len(distinct)} of the {pooled.count} pictures in {folder} differ: their statistics would be those "
            "of single pictures",
            fix=f"Use at least {LEAST_PICTURES} different ones, preferably hundreds",
        )
    whole = pooled.moments()
    mean, variance = whole.mean, whole.variance
    if not (torch.isfinite(mean).all() and torch.isfinite(variance).all()):
        raise ModelError(
            f"{teacher.name} computes NaN or infinity on the pictures in {folder}", fix="Check its weights and input"
        )
    still = [name for name, spread in zip(names, variance.split(observed.sizes), strict=True) if not varies(spread)]
    if still:
        raise DataError(
            f"The input of {still[0]} in {teacher.name} never changes over the pictures in {folder}",
            fix="Use pictures that differ, or check the teacher's weights",
        )
    layers = zip(names, mean.float().split(observed.sizes), variance.float().split(observed.sizes), strict=True)
    statistics = StoredStatistics.of({name: (middle, spread) for name, middle, spread in layers})
    return StatisticsFile(teacher.name, teacher.digest, pooled.count, statistics)
