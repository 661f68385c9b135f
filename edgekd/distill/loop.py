"""The distillation loop: one step of the transformation and one of the student, logged, saved and resumable."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import nn

from calibration.errors import FileError, ModelError
from calibration.files import write_bytes
from calibration.progress import Progress
from edgekd.distill.batches import Batch, Batches
from edgekd.distill.checkpoint import Checkpoint, all_finite
from edgekd.distill.counterparts import with_fitted_norms
from edgekd.distill.device import exact_float32
from edgekd.distill.feature_pairs import pairs_of
from edgekd.distill.features import FeatureMatch
from edgekd.distill.preview import Previews
from edgekd.distill.ranks import ALONE, Ranks
from edgekd.distill.rates import rate_shares
from edgekd.distill.resident import training_images
from edgekd.distill.settings import DistillSettings
from edgekd.distill.start import keep_needed_channels, starting_batches, student_to_solve_for
from edgekd.distill.statistics import StoredStatistics, stored_statistics
from edgekd.distill.steps import Fitting
from edgekd.distill.student_fit import StudentFit
from edgekd.distill.transform import TransformNet
from edgekd.distill.transform_fit import TransformFit
from edgekd.interrupt import deferred_interrupt
from edgekd.models.slim import Slim, choose_channels
from edgekd.models.teacher import Teacher
from edgekd.simulate.sample import ImageSource

__all__ = ["Distilled", "distill", "fit_transform"]

_SAVE_EVERY_SECONDS = 30.0


@dataclass(frozen=True)
class Distilled:
    """The result of a distillation."""

    student: nn.Module
    transform: TransformNet | None
    ranges: Mapping[str, tuple[float, float]]  # learned, of convolutions' inputs; empty without quantisation


@exact_float32()
def distill(
    teacher: Teacher,
    student: nn.Module,
    images: ImageSource,
    settings: DistillSettings,
    folder: Path,
    progress: Progress,
    *,
    device: torch.device,
    student_name: str,
    stored: StoredStatistics | None = None,
    ranks: Ranks = ALONE,
) -> Distilled:
    """Train `student` (in place) to predict the teacher's depth on transformed simulated images.

    The transformation is fitted to `stored`, by default what the teacher's BatchNorm layers stored. Several `ranks`
    share each batch, and only the first writes: metrics.jsonl, previews/ and checkpoint/ into `folder`. Training
    continues from a checkpoint found there; the caller removes the checkpoint once it has saved the result. Raises
    ModelError when the teacher has no statistics and a transformation is asked for, or when a loss becomes NaN or
    infinite; KeyboardInterrupt after Ctrl-C, once the state is saved.
    """
    ranks.require_parts(settings.batch, settings.accumulate)
    batches = Batches(training_images(images, teacher.input.framing, device), settings)
    key = {**_key(teacher, images, settings, stored), "student": student_name}
    taught_by = teacher
    if isinstance(student, Slim):  # compared with its teacher behind every convolution
        taught_by = with_fitted_norms(teacher, batches, settings, device, ranks)
    solved = student_to_solve_for(student, taught_by, settings, progress)
    shares = None if solved is None else rate_shares(solved, taught_by.module)
    if shares is not None:
        key["shares"] = shares
    checkpoint = Checkpoint(folder / "checkpoint", key)
    saved = checkpoint.load()
    if solved is not None:
        if saved is not None:
            with checkpoint.restoring():
                solved.load_state_dict(saved[1]["student"]["student"])  # sets its channels, before they are compared
        else:
            progress.note("Choosing the teacher's channels that the student keeps, on simulated pictures")
            keep_needed_channels(solved, taught_by, batches, settings, device, ranks)
    elif isinstance(student, Slim) and taught_by is not teacher:
        choose_channels(student, taught_by, ())  # cut again, with the statistics that the added layers have now
    transform = None
    if settings.transform is not None:
        transform = TransformFit(taught_by, stored or stored_statistics(teacher.module), settings, device, ranks)
    features = None if settings.features is None else _features(student, taught_by, settings, progress, ranks)
    fit = StudentFit(student, teacher.input, settings, device, features, ranks, shares)
    fitting = Fitting(taught_by, transform, fit, settings, device, ranks)
    if fitting.warm_up:
        then = f"the student learns in the {settings.student_steps} after them"
        progress.note(f"The first {fitting.warm_up} steps fit the transformation alone; {then}")
    try:
        _run(fitting, batches, folder, checkpoint, saved, progress, "Distilling")
    finally:  # also after Ctrl-C: the teacher belongs to the caller
        if features is not None:
            features.release()
    ranges = {} if fit.int8 is None else fit.int8.ranges()
    return Distilled(student, None if transform is None else transform.net, ranges)


@exact_float32()
def fit_transform(
    teacher: Teacher,
    images: ImageSource,
    settings: DistillSettings,
    folder: Path,
    progress: Progress,
    *,
    device: torch.device,
    stored: StoredStatistics | None = None,
) -> TransformNet:
    """Fit the transformation without a student, to calibrate the teacher itself. Resumable, like `distill`."""
    if settings.transform is None:
        raise ModelError("Cannot fit the transformation while it is off", fix="Switch it on")
    ALONE.require_parts(settings.batch, settings.accumulate)
    batches = Batches(training_images(images, teacher.input.framing, device), settings)
    transform = TransformFit(teacher, stored or stored_statistics(teacher.module), settings, device)
    fitting = Fitting(teacher, transform, None, settings, device)
    checkpoint = Checkpoint(folder / "checkpoint", _key(teacher, images, settings, stored))
    _run(fitting, batches, folder, checkpoint, checkpoint.load(), progress, "Fitting")
    return transform.net


def _key(
    teacher: Teacher, images: ImageSource, settings: DistillSettings, stored: StoredStatistics | None
) -> dict[str, Any]:
    """What a checkpoint belongs to, without the student."""
    key = {"settings": settings.to_json(), "teacher": teacher.digest, "images": images.digest}
    return key if stored is None else {**key, "statistics": stored.digest}


def _features(
    student: nn.Module, teacher: Teacher, settings: DistillSettings, progress: Progress, ranks: Ranks
) -> FeatureMatch | None:
    pairs = pairs_of(student, teacher.module, (teacher.input.height, teacher.input.width))
    if pairs:
        return FeatureMatch(pairs, teacher.module, settings.seed, ranks)
    progress.note("Student and teacher have no features to compare: the student is trained on depth alone")
    return None


def _run(
    fitting: Fitting,
    batches: Batches,
    folder: Path,
    checkpoint: Checkpoint,
    saved: tuple[int, dict[str, Any]] | None,
    progress: Progress,
    label: str,
) -> None:
    settings, ranks, total = fitting.settings, fitting.ranks, fitting.total
    start = 0
    if saved is not None:
        start, state = saved
        with checkpoint.restoring():
            fitting.load_state_dict(state)
        progress.note(f"Resuming from step {start} of {total}")
    ranks.wait()  # until all have read the checkpoint
    previews = Previews(folder / "previews", batches, fitting)
    saved_at = time.monotonic()
    with (
        _open_log(folder / "metrics.jsonl", start) if ranks.first else contextlib.nullcontext() as log,
        deferred_interrupt() as interrupted,
        progress.task(label, total) as advance,
    ):
        advance(start)
        for batch in batches.stream(start, total):
            begun = time.perf_counter()
            if batch.step == fitting.warm_up and fitting.starts_by_solving:
                progress.note("Solving for the student's initial weights: the next step takes longer")
                fitting.start(starting_batches(batches, settings))
            metrics = fitting.step(batch)
            done = batch.step + 1
            good = all(map(math.isfinite, metrics.values()))
            if good and done == total:  # no later loss would reveal weights broken by the last step
                good = all_finite(fitting.state_dict())
            broken, stop = ranks.any(not good, interrupted())
            if broken:
                raise _not_finite_error(fitting, batch, checkpoint.path)
            seconds = time.perf_counter() - begun
            advance(1)
            if log is not None:
                log.write(json.dumps({"step": batch.step, **metrics, "seconds": round(seconds, 4)}) + "\n")
                if done % settings.preview_every == 0 or done == total:
                    previews.write(done)
                late = time.monotonic() - saved_at > _SAVE_EVERY_SECONDS
                if late or stop or done == total:
                    log.flush()
                    state = fitting.state_dict()
                    if all_finite(state):  # otherwise keep the last checkpoint: the next step's loss will fail
                        checkpoint.save(done, state)
                    saved_at = time.monotonic()
            if stop:
                raise KeyboardInterrupt
        if any(ranks.any(interrupted())):  # after the last step's check
            raise KeyboardInterrupt
    fitting.finish()


def _not_finite_error(fitting: Fitting, batch: Batch, saved: Path) -> ModelError:
    """The error for a step whose loss or weights are not finite; the teacher's depth there shows the cause."""
    kept = f"the last good checkpoint is {saved}" if saved.exists() else "no checkpoint was saved before it"
    where = f"step {batch.step} (batch {batch.step} of seed {fitting.settings.seed}); {kept}"
    if not fitting.teacher_is_finite(batch):
        return ModelError(
            f"{fitting.teacher} outputs NaN or infinite depth for pictures of {where}",
            fix="Check the teacher: it must output depth for every picture",
        )
    if fitting.student is None or batch.step < fitting.warm_up:
        return ModelError(
            f"The loss of the transformation became NaN or infinite at {where}",
            fix="Check the teacher, or switch off the transformation",
        )
    return ModelError(
        f"The loss became NaN or infinite at {where}",
        fix="Start over with a lower --learning-rate and --force (a checkpoint only fits its own settings), or check "
        "the teacher",
    )


def _open_log(path: Path, start: int) -> TextIO:
    """Open metrics.jsonl and keep only the lines of steps before `start`: the later ones are run again."""
    lines: list[bytes] = []
    if start and path.exists():
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                if int(json.loads(line)["step"]) < start:
                    lines.append(line)
            except (ValueError, KeyError, TypeError, OverflowError):
                continue  # a partial line left by a killed process
    write_bytes(path, b"".join(lines))
    try:
        return open(path, "a", encoding="utf-8")
    except OSError as error:
        raise FileError(f"Cannot write {path}: {error.strerror}", fix="Choose a writable folder") from error
