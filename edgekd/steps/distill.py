"""Turns a teacher into a finished run: student, transformation, calibration set, ONNX model, references for drift."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from calibration.errors import ModelError, UsageError
from calibration.files import read_json, write_json
from calibration.progress import Progress, Quiet
from edgekd.distill.adapt import save_transform
from edgekd.distill.allocator import keep_freed_memory
from edgekd.distill.batches import Batches
from edgekd.distill.device import describe
from edgekd.distill.framed_images import FramedImages
from edgekd.distill.half_precision import require_precision
from edgekd.distill.loop import Distilled, distill
from edgekd.distill.ranks import Ranks, joined
from edgekd.distill.settings import DistillSettings
from edgekd.distill.statistics import StoredStatistics
from edgekd.models.batch_norm import require_batch_norm
from edgekd.models.slim import Slim
from edgekd.models.students import DEFAULT_STUDENT, build_student
from edgekd.models.teacher import Teacher
from edgekd.models.teachers import TEACHERS, load_teacher
from edgekd.models.to_onnx import require_exportable
from edgekd.models.weights import fill, load_weights, save_weights
from edgekd.run import Run, default_folder, require_place
from edgekd.simulate.sample import ImageSource
from edgekd.steps.busy import remark_on_others
from edgekd.steps.first_step import FirstStep, writing
from edgekd.steps.images import ImagesSpec, grow_images, open_rendered, require_images
from edgekd.steps.outcome import require_learnt, require_taught
from edgekd.steps.statistics import chosen_statistics, require_use
from edgekd.steps.training import Training, require_pictures

__all__ = ["DistillRequest", "distill_run"]

_RANGES = "ranges.json"
_LOOKED_AT = 16  # pictures set aside, used to test whether the student learnt anything


@dataclass(frozen=True)
class DistillRequest:
    """Everything that decides a distilled run. With `out` None it goes to runs/<teacher>-<student>."""

    teacher: str = "rooms"
    architecture: str | None = None
    student: str = DEFAULT_STUDENT
    images: ImagesSpec = field(default_factory=ImagesSpec)
    settings: DistillSettings = field(default_factory=DistillSettings)
    statistics: Path | None = None  # from edgekd statistics, in place of what BatchNorm layers stored
    device: str = "auto"
    out: Path | None = None
    force: bool = False
    command: str | None = None  # recreates the run; {run} stands for its folder


def distill_run(request: DistillRequest, progress: Progress) -> Run:
    """Distil into a run folder, resuming where an interrupted command stopped.

    Raises UnknownNameError, UsageError, ModelError, DataError, FileError, RunLockedError; RunError when the folder
    holds a run with other settings and `force` is off; KeyboardInterrupt after Ctrl-C, with the checkpoint saved.
    """
    require_place(request.out)
    request.images.require(request.settings.least_images, progress)
    keep_freed_memory()
    with joined(request.device) as (ranks, device):
        ranks.require_parts(request.settings.batch, request.settings.accumulate)
        if ranks.count > 1 and request.settings.growth is not None:
            raise UsageError("Multi-process training cannot run while rooms are rendered", fix="Omit --background")
        if ranks.count > 1 and request.settings.quantisation is not None:
            raise UsageError("Multi-process training cannot run in simulated int8", fix="Omit --int8-steps")
        job = _prepared(request, ranks, device, progress if ranks.first else Quiet())
        if ranks.first:
            _lead(job, progress)
        else:
            _follow(job)
        ranks.wait()  # a process that exits early would end the first one, which is still exporting
        return Run.open(job.folder)


@dataclass(frozen=True)
class _Job:
    """A distillation whose teacher, student and statistics match; nothing was rendered or written yet."""

    request: DistillRequest
    teacher: Teacher
    student: nn.Module
    stored: StoredStatistics | None  # from a file
    folder: Path
    ranks: Ranks
    device: torch.device


def _millions(network: nn.Module) -> str:
    """The number of parameters, to three digits, in millions."""
    return f"{sum(parameter.numel() for parameter in network.parameters()) / 1e6:.3g}"


def _prepared(request: DistillRequest, ranks: Ranks, device: torch.device, progress: Progress) -> _Job:
    require_use(request.statistics, request.settings)
    teacher = load_teacher(request.teacher, architecture=request.architecture, progress=progress)
    stored = chosen_statistics(request.statistics, teacher)
    student = build_student(request.student, teacher, request.settings.seed)  # its error also names what is next
    if request.settings.transform is not None and stored is None:
        require_batch_norm(teacher)
    folder = request.out or default_folder(f"{teacher.name}-{request.student}")
    return _Job(request, teacher, student, stored, folder, ranks, device)


def _lead(job: _Job, progress: Progress) -> None:
    request, teacher, folder, ranks, device = job.request, job.teacher, job.folder, job.ranks, job.device
    step = FirstStep.of("distill", request, teacher, device, student=request.student)
    where = describe(device, request.settings.precision)
    require_precision(teacher, device, request.settings.precision, fix="Use --precision float32")
    if request.force or not Run.exists(folder):
        require_images(request.images)
        require_pictures(request.images, teacher, request.settings)
        _try_export(job, progress)
    with writing(folder, step, force=request.force, progress=progress) as run:
        sizes = f"{_millions(job.student)} of {_millions(teacher.module)} M parameters"
        progress.note(f"Distilling {teacher.name} into {request.student}, {sizes}, in {folder} on {where}")
        training = Training(run, teacher, request.images, request.settings, step.command, progress)
        done = step.is_done(run)
        ranks.any(not done)  # the other processes wait for this
        if done:
            progress.note("The student is up to date: same teacher, images and settings (--force starts over)")
        else:
            growing = request.settings.growth is not None
            images = grow_images(request.images, progress) if growing else contextlib.nullcontext(training.source)
            with images as source, step.doing(run) as made:
                framed = FramedImages(source, teacher.input.framing)
                looked_at = Batches(framed, request.settings).aside()[:_LOOKED_AT]
                require_taught(teacher, looked_at)
                ranks.wait()  # the pictures are rendered: the other processes may open them
                if not growing:  # otherwise the busy processes are our own renderers
                    remark_on_others(device, progress)
                result = _train(job, source, progress)
                require_learnt(result.student, teacher, looked_at, progress)
                weights = folder / "student.safetensors"
                save_weights(weights, result.student, architecture=request.student, input=teacher.input)
                made.add(weights, folder / "metrics.jsonl", folder / "previews")
                if request.settings.quantisation is not None:
                    write_json(folder / _RANGES, result.ranges)
                    made.add(folder / _RANGES)
                if result.transform is not None:
                    save_transform(training.transform_file, result.transform, teacher.input)
                    made.add(training.transform_file)
        # Not earlier: until the results are recorded, an interrupted command resumes from the checkpoint.
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        _finish(training, job, step.inputs)


def _try_export(job: _Job, progress: Progress) -> None:
    """Raise ModelError if a student cut from the user's own teacher cannot be exported, before anything is written,
    rendered or trained."""
    if job.request.teacher not in TEACHERS and isinstance(job.student, Slim):
        with progress.task("Testing the export to ONNX"):
            try:
                require_exportable(job.student, job.teacher.input)
            except ModelError as error:
                other = "pass --student mobile-m, which is not cut from the teacher"
                raise ModelError(error.message, fix=f"{error.fix.rstrip('.')}, or {other}") from error


def _follow(job: _Job) -> None:
    """What every process but the first does: its part of the training, without writing anything."""
    (needed,) = job.ranks.any(False)
    if needed:
        job.ranks.wait()
        _train(job, open_rendered(job.request.images), Quiet())


def _train(job: _Job, source: ImageSource, progress: Progress) -> Distilled:
    return distill(
        job.teacher,
        job.student,
        source,
        job.request.settings,
        job.folder,
        progress,
        device=job.device,
        student_name=job.request.student,
        stored=job.stored,
        ranks=job.ranks,
    )


def _finish(training: Training, job: _Job, inputs: Mapping[str, str]) -> None:
    """Do everything after training from the files it left, so that an interruption here loses no training."""
    run, student = training.run, job.student
    weights = run.folder / "student.safetensors"
    fill(student, load_weights(weights).tensors, str(weights), architecture=job.request.student)
    training.keep_calibration(job.stored, inputs)
    ranges = read_json(run.folder / _RANGES) if training.settings.quantisation is not None else {}
    training.keep_model(student, "student", run.digest(weights), ranges)
    training.keep_references(student)
