"""The first step of a run, which makes a student or calibrates the teacher: what was asked for, and opening its run."""

from __future__ import annotations

import contextlib
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from calibration.errors import RunError
from calibration.files import sha256_file
from calibration.progress import Progress
from edgekd.distill.settings import DistillSettings
from edgekd.models.pictures import probe_pictures
from edgekd.models.teacher import Teacher
from edgekd.models.teachers import TEACHERS
from edgekd.run import Run, TeacherRecord
from edgekd.run.folder import StepOutputs
from edgekd.steps.images import ImagesSpec
from edgekd.steps.training import run_depth

__all__ = ["FirstStep", "writing"]

_FIRST_STEPS = ("distill", "calibrate")
_NEXT_STEPS = ("calibration", "adaptation", "onnx", "check")
_OPTIONAL = ("transform.safetensors", "adaptation.json", "ranges.json")  # not made with every setting


class _Request(Protocol):
    """What the requests of both verbs say about their first step."""

    @property
    def teacher(self) -> str: ...
    @property
    def images(self) -> ImagesSpec: ...
    @property
    def settings(self) -> DistillSettings: ...
    @property
    def statistics(self) -> Path | None: ...
    @property
    def command(self) -> str | None: ...


@dataclass(frozen=True)
class FirstStep:
    """A run's first step as run.json records it; it has the name of the verb."""

    name: str
    teacher: TeacherRecord
    inputs: Mapping[str, str]
    asked: Mapping[str, Any]
    command: str  # makes the run again; {run} stands for its folder

    @classmethod
    def of(
        cls, name: str, request: _Request, teacher: Teacher, device: torch.device, *, student: str | None = None
    ) -> FirstStep:
        """The step that a request asks for, of this teacher. Raises FileError for statistics that cannot be read."""
        asked = {
            **({} if student is None else {"student": student}),
            "images": request.images.describe(),
            "settings": request.settings.to_json(),
            "device": device.type,
            **_beyond_weights(teacher, request.teacher),
        }
        inputs = {"teacher": teacher.digest, "images": request.images.digest}
        if request.statistics is not None:
            inputs["statistics"] = sha256_file(request.statistics)
        record = TeacherRecord(teacher.name, request.teacher, teacher.digest, teacher.source, teacher.metric)
        command = request.command or f"edgekd {name} --teacher {shlex.quote(request.teacher)} --out {{run}}"
        return cls(name, record, inputs, asked, command)

    def is_done(self, run: Run) -> bool:
        return run.is_done(self.name, inputs=self.inputs, asked=self.asked)

    def doing(self, run: Run) -> AbstractContextManager[StepOutputs]:
        """Do the step inside the block: see `Run.step`."""
        return run.step(self.name, inputs=self.inputs, asked=self.asked, command=self.command)


@contextlib.contextmanager
def writing(folder: Path, step: FirstStep, *, force: bool, progress: Progress) -> Iterator[Run]:
    """Yield the run in `folder`, locked, after checking that its first step may begin or resume.

    The step is recorded as begun before anything is rendered, so that an interrupted run knows its command. With
    `force` the step starts over; otherwise RunError names what differs if the run was begun with other settings.
    """
    run = Run.open_or_create(folder, step.teacher)
    with run.lock(progress):
        others = [name for name in _FIRST_STEPS if name != step.name and name in run.manifest.steps]
        if others:
            raise RunError(f"{folder} is a run of edgekd {others[0]}", fix="Choose another --out")
        earlier: tuple[str, ...] = ()
        if force:
            # Files made from the earlier student would pass for the new one's until those exist.
            earlier = run.forget(step.name, *_NEXT_STEPS)
            for left in ("checkpoint", "previews"):
                shutil.rmtree(run.folder / left, ignore_errors=True)
        elif changed := run.differences(step.name, inputs=step.inputs, asked=step.asked):
            raise RunError(
                f"{folder} was begun with other settings: {', '.join(changed)}",
                fix="Choose another --out, or pass --force to start this run over",
            )
        run.note_teacher(step.teacher)
        if step.name not in run.manifest.steps:
            run.begin(step.name, inputs=step.inputs, asked=step.asked, command=step.command)
        elif lost := run.lost(step.name):
            progress.note(f"{lost}: edgekd {step.name} starts over, as its results are no longer complete")
        yield run
        # Such as a transformation that is now off. If a run that was started over was killed, `earlier` is lost.
        run.remove_unmade((*earlier, *_OPTIONAL))


def _beyond_weights(teacher: Teacher, spec: str) -> dict[str, Any]:
    """What can change in a teacher while its weights stay the same, to be recorded in a run: its input, and the median
    of its depth in metres on test pictures, to two digits. Empty for a named teacher, which never changes."""
    if spec in TEACHERS:
        return {}
    depth = run_depth(teacher.module, teacher.input, probe_pictures(teacher.input.height, teacher.input.width, 2))
    return {"teacher": {"input": teacher.input.to_json(), "median depth": f"{np.median(depth):.2g}"}}
