from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from interrupting import InterruptAfter
from short_runs import CPU, SETTINGS, run

from calibration.errors import ModelError, RunError
from calibration.progress import Quiet
from edgekd.distill.checkpoint import all_finite
from edgekd.distill.loop import distill, fit_transform
from edgekd.distill.settings import DistillSettings, ReconstructionSettings
from edgekd.distill.statistics import stored_statistics
from edgekd.distill.student_fit import StudentFit
from edgekd.models.slim import slim


def test_a_checkpoint_of_other_settings_is_refused(teacher, small_net, boxes, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(teacher, small_net, boxes, tmp_path, progress=InterruptAfter(4))
    with pytest.raises(RunError, match="a different teacher, student, image set or settings"):
        run(teacher, small_net, boxes, tmp_path, DistillSettings(steps=12, batch=8, set_aside=8))


def test_a_checkpoint_of_another_teacher_student_set_or_of_other_statistics_is_refused(
    teacher, small_net, boxes, tmp_path
) -> None:
    """Otherwise a resumed run would pass for one of the teacher, pictures and statistics that it was asked for."""

    class Others(type(boxes)):
        digest = "others"

    def fit(progress: Quiet, teacher=teacher, images=boxes, settings=SETTINGS, **given) -> None:
        fit_transform(teacher, images, settings, tmp_path / "fit", progress, device=CPU, **given)

    def train(progress: Quiet, teacher=teacher, images=boxes, student_name="small", **given) -> None:
        folder = tmp_path / "train"
        given = {"device": CPU, "student_name": student_name, **given}
        distill(teacher, small_net(), images, SETTINGS, folder, progress, **given)

    changes = [
        {"teacher": replace(teacher, digest="another")},
        {"images": Others()},
        {"stored": stored_statistics(teacher.module)},  # the same numbers, but of a file
    ]
    for begin, others in ((fit, [*changes, {"settings": replace(SETTINGS, seed=1)}]), (train, changes)):
        (tmp_path / begin.__name__).mkdir()
        with pytest.raises(KeyboardInterrupt):
            begin(InterruptAfter(2))
        for other in others:
            with pytest.raises(RunError, match="a different teacher, student, image set or settings"):
                begin(Quiet(), **other)
    with pytest.raises(RunError, match="a different teacher, student, image set or settings"):
        train(Quiet(), student_name="other")


def test_a_checkpoint_of_a_version_that_builds_other_students_is_named(teacher, small_net, boxes, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(teacher, small_net, boxes, tmp_path / "plain", progress=InterruptAfter(4))
    said = r"state\.pt does not fit .*another version .*delete .*checkpoint to start"
    with pytest.raises(RunError, match=said):
        run(teacher, lambda: small_net(channels=16), boxes, tmp_path / "plain")
    solved = replace(SETTINGS, reconstruction=ReconstructionSettings(pictures=8))
    with pytest.raises(KeyboardInterrupt):
        run(teacher, lambda: slim(teacher, 0.5), boxes, tmp_path / "cut", solved, InterruptAfter(4))
    state = tmp_path / "cut/checkpoint/state.pt"
    saved = torch.load(state, weights_only=True)
    saved["state"]["student"]["student"]["channels"] = torch.arange(3)  # another number of them
    torch.save(saved, state)
    with pytest.raises(RunError, match=said):
        run(teacher, lambda: slim(teacher, 0.5), boxes, tmp_path / "cut", solved)


def test_a_damaged_checkpoint_is_named(teacher, small_net, boxes, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(teacher, small_net, boxes, tmp_path, progress=InterruptAfter(4))
    state = tmp_path / "checkpoint/state.pt"
    whole = state.read_bytes()
    for damaged in (whole[:1000], b"", b"\x80\x02.", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."):
        state.write_bytes(damaged)
        with pytest.raises(RunError, match=r"state\.pt cannot be read"):
            run(teacher, small_net, boxes, tmp_path)


def test_a_checkpoint_for_which_memory_does_not_suffice_is_not_called_damaged(
    teacher, small_net, boxes, tmp_path, monkeypatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(teacher, small_net, boxes, tmp_path, progress=InterruptAfter(4))

    def short(*_, **__):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch, "load", short)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        run(teacher, small_net, boxes, tmp_path)


@pytest.mark.parametrize("at", [5, 14])
def test_weights_that_turn_nan_are_in_no_checkpoint(teacher, small_net, boxes, tmp_path, monkeypatch, at) -> None:
    """The step whose update breaks the weights has a good loss: the next one fails, but none follows the last."""
    monkeypatch.setattr("edgekd.distill.loop._SAVE_EVERY_SECONDS", 0.0)
    update, calls = StudentFit.update, itertools.count(SETTINGS.transform.warm_up)

    def breaking(self: StudentFit, rate: float) -> None:
        update(self, rate)
        if next(calls) == at:
            next(self.student.parameters()).data.fill_(float("nan"))

    monkeypatch.setattr(StudentFit, "update", breaking)
    told = at + 1 if at < 14 else at
    said = rf"at step {told} \(batch {told} of seed 0\); the last good checkpoint is .*state\.pt"
    with pytest.raises(ModelError, match=said):
        run(teacher, small_net, boxes, tmp_path)
    saved = torch.load(tmp_path / "checkpoint/state.pt", weights_only=True)
    assert saved["step"] == at and all_finite(saved["state"])
