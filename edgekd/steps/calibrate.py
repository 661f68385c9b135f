"""Makes a run without a student: prepares the teacher itself for the device, quantised without its data."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from calibration.progress import Progress
from edgekd.distill.adapt import save_transform
from edgekd.distill.allocator import keep_freed_memory
from edgekd.distill.device import choose_device, describe
from edgekd.distill.half_precision import require_precision
from edgekd.distill.loop import fit_transform
from edgekd.distill.settings import DistillSettings, TransformSettings
from edgekd.models.batch_norm import stores_statistics
from edgekd.models.teachers import load_teacher
from edgekd.run import Run, default_folder, require_place
from edgekd.steps.busy import remark_on_others
from edgekd.steps.first_step import FirstStep, writing
from edgekd.steps.images import ImagesSpec
from edgekd.steps.statistics import chosen_statistics, require_use
from edgekd.steps.training import Training, require_pictures

__all__ = ["CALIBRATING", "CalibrateRequest", "calibrate_run"]

CALIBRATING = TransformSettings(share=1.0)
"""Transforms every picture, as no student is trained."""


@dataclass(frozen=True)
class CalibrateRequest:
    """Everything that decides a calibrated run. With `out` None it goes to runs/<teacher>."""

    teacher: str
    architecture: str | None = None
    images: ImagesSpec = field(default_factory=lambda: ImagesSpec(count=600))
    settings: DistillSettings = field(
        default_factory=lambda: DistillSettings(steps=300, mixing=None, transform=CALIBRATING)
    )
    statistics: Path | None = None  # from edgekd statistics, in place of what BatchNorm layers stored
    device: str = "auto"
    out: Path | None = None
    force: bool = False
    command: str | None = None


def calibrate_run(request: CalibrateRequest, progress: Progress) -> Run:
    """Export the teacher and give it a calibration set.

    A teacher without statistics is calibrated on untransformed simulated pictures, with a note. Raises what
    `distill_run` raises.
    """
    require_use(request.statistics, request.settings)
    require_place(request.out)
    request.images.require(request.settings.least_images, progress)
    keep_freed_memory()
    device = choose_device(request.device)
    teacher = load_teacher(request.teacher, architecture=request.architecture, progress=progress)
    stored = chosen_statistics(request.statistics, teacher)
    if request.settings.transform is not None and stored is None and not stores_statistics(teacher.module):
        progress.note(
            f"{teacher.name} has no statistics to fit pictures to: it is calibrated on untransformed simulated ones, "
            "unless you pass a file from edgekd statistics (--statistics)"
        )
        request = replace(request, settings=replace(request.settings, transform=None))
    settings = request.settings
    folder = request.out or default_folder(teacher.name)
    step = FirstStep.of("calibrate", request, teacher, device)
    where = describe(device, settings.precision)
    if settings.transform is not None:  # otherwise nothing is computed on the device
        require_precision(teacher, device, settings.precision, fix="Use --device cpu")
    if request.force or not Run.exists(folder):
        require_pictures(request.images, teacher, settings)
    with writing(folder, step, force=request.force, progress=progress) as run:
        progress.note(f"Calibrating {teacher.name} itself in {folder} on {where}")
        training = Training(run, teacher, request.images, settings, step.command, progress)
        training.keep_model(teacher.module, "teacher", teacher.digest)  # first: if it fails, the rest would be wasted
        if step.is_done(run):
            progress.note("The transformation is up to date: same teacher, images and settings (--force starts over)")
        else:
            source = training.source
            with step.doing(run) as made:
                if settings.transform is not None:
                    remark_on_others(device, progress)
                    net = fit_transform(teacher, source, settings, folder, progress, device=device, stored=stored)
                    save_transform(training.transform_file, net, teacher.input)
                    made.add(training.transform_file, folder / "metrics.jsonl", folder / "previews")
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        training.keep_calibration(stored, step.inputs)
        training.keep_references(None)
    return run
