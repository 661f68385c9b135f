"""Turns a teacher into a finished run: student, transformation, calibration set, ONNX model, references for drift."""

from __future__ import annotations

import contextlib
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from calibration.errors import ModelError, UsageError
from calibration.files import read_json, sha256_file, write_json
from calibration.progress import Progress, Quiet
from edgekd.distill.adapt import load_transform, save_transform
from edgekd.distill.allocator import keep_freed_memory
from edgekd.distill.device import describe
from edgekd.distill.half_precision import require_precision
from edgekd.distill.loop import Distilled, distill
from edgekd.distill.ranks import Ranks, joined
from edgekd.distill.settings import DistillSettings
from edgekd.distill.statistics import StoredStatistics
from edgekd.models.checks import require_batch_norm
from edgekd.models.slim import Slim
from edgekd.models.students import DEFAULT_STUDENT, build_student
from edgekd.models.teacher import Teacher
from edgekd.models.teachers import TEACHERS, load_teacher
from edgekd.models.to_onnx import require_exportable
from edgekd.models.weights import fill, load_weights, save_weights
from edgekd.run import RUNS, Run, TeacherRecord, require_place
from edgekd.simulate.sample import ImageSource
from edgekd.steps.busy import remark_on_others
from edgekd.steps.images import ImagesSpec, grow_images, open_rendered, require_images
from edgekd.steps.outcome import require_learnt
from edgekd.steps.statistics import chosen_statistics, require_use
from edgekd.steps.training import Training, beyond_weights, writing

__all__ = ["DistillRequest", "distill_run"]

_STEP = "distill"
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
    request.images.require(request.settings.least_images)
    keep_freed_memory()
    with joined(request.device) as (ranks, device):
        ranks.require_parts(request.settings.batch, request.settings.accumulate)
        if ranks.count > 1 and request.settings.growth is not None:
            raise UsageError("Multi-process training cannot run while rooms are rendered", fix="Omit --background")
        if ranks.count > 1 and request.settings.quantisation is not None:
            raise UsageError("Multi-process training cannot run in simulated int8", fix="Omit --int8-steps")
        cast = _cast(request, progress if ranks.first else Quiet())
        folder = request.out or RUNS / f"{cast.teacher.name}-{request.student}"
        if ranks.first:
            _lead(request, cast, folder, progress, ranks, device)
        else:
            _follow(request, cast, folder, ranks, device)
        ranks.wait()  # a process that exits early would end the first one, which is still exporting
        return Run.open(folder)


@dataclass(frozen=True)
class _Cast:
    """Teacher, student and statistics of a distillation, checked to match before anything is rendered or written."""

    teacher: Teacher
    student: nn.Module
    stored: StoredStatistics | None  # from a file


def _cast(request: DistillRequest, progress: Progress) -> _Cast:
    require_use(request.statistics, request.settings)
    teacher = load_teacher(request.teacher, architecture=request.architecture, progress=progress)
    stored = chosen_statistics(request.statistics, teacher)
    if request.settings.transform is not None and stored is None:
        require_batch_norm(teacher)
    return _Cast(teacher, build_student(request.student, teacher, request.settings.seed), stored)


def _lead(
    request: DistillRequest, cast: _Cast, folder: Path, progress: Progress, ranks: Ranks, device: torch.device
) -> None:
    teacher = cast.teacher
    record = TeacherRecord(teacher.name, request.teacher, teacher.digest, teacher.source, teacher.metric)
    asked = {
        "student": request.student,
        "images": request.images.describe(),
        "settings": request.settings.to_json(),
        "device": device.type,
        **beyond_weights(teacher, request.teacher),
    }
    inputs = {"teacher": teacher.digest, "images": request.images.digest}
    if cast.stored is not None and request.statistics is not None:
        inputs["statistics"] = sha256_file(request.statistics)
    command = request.command or f"edgekd distill --teacher {shlex.quote(request.teacher)} --out {{run}}"
    where = describe(device, request.settings.precision)
    require_precision(teacher, device, request.settings.precision, fix="Use --precision float32")
    if request.force or not Run.exists(folder):
        require_images(request.images)
        _try_export(request, cast, progress)
    with writing(
        folder,
        record,
        _STEP,
        inputs=inputs,
        asked=asked,
        command=command,
        force=request.force,
        progress=progress,
    ) as run:
        progress.note(f"Distilling {teacher.name} into {request.student} in {folder} on {where}")
        training = Training(run, teacher, request.images, request.settings, command, progress)
        done = run.is_done(_STEP, inputs=inputs, asked=asked)
        ranks.any(not done)  # the other processes wait for this
        if done:
            progress.note("The student is up to date: same teacher, images and settings (--force starts over)")
        else:
            growing = request.settings.growth is not None
            images = grow_images(request.images, progress) if growing else contextlib.nullcontext(training.source)
            with images as source, run.step(_STEP, inputs=inputs, asked=asked, command=command) as made:
                ranks.wait()  # the pictures are rendered: the other processes may open them
                if not growing:  # otherwise the busy processes are our own renderers
                    remark_on_others(device, progress)
                result = _train(request, cast, source, folder, progress, ranks, device)
                require_learnt(result.student, teacher, result.batches.aside()[:_LOOKED_AT], progress)
                weights = folder / "student.safetensors"
                save_weights(weights, result.student, architecture=request.student, input=teacher.input)
                made.add(weights, folder / "metrics.jsonl", folder / "previews")
                if request.settings.quantisation is not None:
                    write_json(folder / _RANGES, result.ranges)
                    made.add(folder / _RANGES)
                if result.transform is not None:
                    save_transform(folder / "transform.safetensors", result.transform, teacher.input)
                    made.add(folder / "transform.safetensors")
        # Not earlier: until the results are recorded, an interrupted command resumes from the checkpoint.
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        _finish(training, cast, request.student, inputs)


def _try_export(request: DistillRequest, cast: _Cast, progress: Progress) -> None:
    """Raise ModelError if a student cut from the user's own teacher cannot be exported, before anything is written,
    rendered or trained."""
    if request.teacher not in TEACHERS and isinstance(cast.student, Slim):
        with progress.task("Testing the export to ONNX"):
            try:
                require_exportable(cast.student, cast.teacher.input)
            except ModelError as error:
                other = "pass --student mobile-m, which is not cut from the teacher"
                raise ModelError(error.message, fix=f"{error.fix.rstrip('.')}, or {other}") from error


def _follow(request: DistillRequest, cast: _Cast, folder: Path, ranks: Ranks, device: torch.device) -> None:
    """What every process but the first does: its part of the training, without writing anything."""
    (needed,) = ranks.any(False)
    if needed:
        ranks.wait()
        _train(request, cast, open_rendered(request.images), folder, Quiet(), ranks, device)


def _train(
    request: DistillRequest,
    cast: _Cast,
    source: ImageSource,
    folder: Path,
    progress: Progress,
    ranks: Ranks,
    device: torch.device,
) -> Distilled:
    return distill(
        cast.teacher,
        cast.student,
        source,
        request.settings,
        folder,
        progress,
        device=device,
        student_name=request.student,
        stored=cast.stored,
        ranks=ranks,
    )


def _finish(training: Training, cast: _Cast, name: str, inputs: Mapping[str, str]) -> None:
    """Do everything after training from the files it left, so that an interruption here loses no training."""
    run, student = training.run, cast.student
    weights, transform_file = run.folder / "student.safetensors", run.folder / "transform.safetensors"
    fill(student, load_weights(weights).tensors, str(weights), architecture=name)
    made_from: dict[str, Any] = dict(inputs)
    transform = None
    if training.settings.transform is not None:
        transform = load_transform(transform_file)
        made_from["transform"] = run.digest(transform_file)
    training.keep_calibration(transform, made_from)
    if transform is not None:
        training.keep_adaptation(cast.stored, made_from)
    ranges = read_json(run.folder / _RANGES) if training.settings.quantisation is not None else {}
    training.keep_model(student, "student", run.digest(weights), ranges)
    training.keep_references(student)
