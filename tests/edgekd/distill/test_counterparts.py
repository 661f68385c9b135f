"""Students cut from teachers without BatchNorm."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from folding import folded
from interrupting import InterruptAfter
from short_runs import SETTINGS, run, steps_logged, weights

from edgekd.models.batch_norm import batch_norm_layers
from edgekd.models.slim import slim

UNTRANSFORMED = replace(SETTINGS, transform=None, learning_rate=1e-6)


def test_a_student_of_a_folded_teacher_starts_as_one_of_the_teacher_itself(teacher_to_cut, boxes, tmp_path) -> None:
    logged = {}
    for teacher in (teacher_to_cut, folded(teacher_to_cut)):
        run(teacher, lambda teacher=teacher: slim(teacher, 0.5), boxes, tmp_path / teacher.name, UNTRANSFORMED)
        logged[teacher.name] = steps_logged(tmp_path / teacher.name)[0]
    assert batch_norm_layers(folded(teacher_to_cut).module) == {}
    assert logged["wide-folded"] == pytest.approx(logged["wide"], rel=0.3)  # pictures, not what was stored, scale them


def test_it_starts_in_its_teachers_units_where_it_is_not_solved_for(teacher_to_cut, boxes, tmp_path) -> None:
    settings = replace(UNTRANSFORMED, reconstruction=None, steps=1)
    teacher = folded(teacher_to_cut)
    student = run(teacher, lambda: slim(teacher, 0.5), boxes, tmp_path / "run", settings).student
    for name, stored in student.stored.items():
        norm = student.network.get_submodule(name)
        assert norm.weight.detach().numpy() == pytest.approx(stored.deviation, rel=1e-3, abs=1e-4)
        assert norm.bias.detach().numpy() == pytest.approx(stored.mean, rel=1e-3, abs=1e-4)
        assert stored.deviation.std() > 0.01


def test_an_interrupted_run_ends_as_an_uninterrupted_one(teacher_to_cut, boxes, tmp_path) -> None:
    teacher, settings = folded(teacher_to_cut), replace(UNTRANSFORMED, learning_rate=1e-3)
    for reconstruction in (settings.reconstruction, None):
        settings = replace(settings, reconstruction=reconstruction)
        name = f"solved-{reconstruction is not None}"
        whole = run(teacher, lambda: slim(teacher, 0.5), boxes, tmp_path / f"{name}-whole", settings)
        with pytest.raises(KeyboardInterrupt):
            run(teacher, lambda: slim(teacher, 0.5), boxes, tmp_path / name, settings, progress=InterruptAfter(5))
        again = run(teacher, lambda: slim(teacher, 0.5), boxes, tmp_path / name, settings)
        assert torch.equal(weights(again), weights(whole))
        assert again.student.kept == whole.student.kept
        assert steps_logged(tmp_path / name) == steps_logged(tmp_path / f"{name}-whole")


def test_the_callers_teacher_stays_as_it_was(teacher_to_cut, boxes, tmp_path) -> None:
    teacher = folded(teacher_to_cut)
    names = [name for name, _ in teacher.module.named_modules()]
    run(teacher, lambda: slim(teacher, 0.5), boxes, tmp_path / "run", replace(UNTRANSFORMED, steps=1))
    assert [name for name, _ in teacher.module.named_modules()] == names
