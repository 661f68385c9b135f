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
from edgekd.models.teacher import Teacher
from targets.input import Framing, InputSpec

UNTRANSFORMED = replace(SETTINGS, transform=None, learning_rate=1e-6)


@pytest.fixture
def wide(small_net, boxes) -> Teacher:
    """With 32 channels, and the statistics of the pictures that it is distilled on."""
    torch.manual_seed(1)
    module = small_net(32).train()
    pictures = torch.stack([torch.from_numpy(boxes[i].rgb).permute(2, 0, 1).float() / 255 for i in range(40)])
    with torch.no_grad():
        for _ in range(60):
            module(pictures)
    module.eval().requires_grad_(False)
    return Teacher("wide", module, InputSpec(Framing(32, 48)), digest="wide", source="a test")


def test_a_student_of_a_folded_teacher_starts_as_one_of_the_teacher_itself(wide, boxes, tmp_path) -> None:
    logged = {}
    for teacher in (wide, folded(wide)):
        run(teacher, lambda teacher=teacher: slim(teacher, 0.5), boxes, tmp_path / teacher.name, UNTRANSFORMED)
        logged[teacher.name] = steps_logged(tmp_path / teacher.name)[0]
    assert batch_norm_layers(folded(wide).module) == {}
    assert logged["wide-folded"] == pytest.approx(logged["wide"], rel=0.3)  # pictures, not what was stored, scale them


def test_it_starts_in_its_teachers_units_where_it_is_not_solved_for(wide, boxes, tmp_path) -> None:
    settings = replace(UNTRANSFORMED, reconstruction=None, steps=1)
    teacher = folded(wide)
    student = run(teacher, lambda: slim(teacher, 0.5), boxes, tmp_path / "run", settings).student
    for name, stored in student.stored.items():
        norm = student.network.get_submodule(name)
        assert norm.weight.detach().numpy() == pytest.approx(stored.deviation, rel=1e-3, abs=1e-4)
        assert norm.bias.detach().numpy() == pytest.approx(stored.mean, rel=1e-3, abs=1e-4)
        assert stored.deviation.std() > 0.01


def test_an_interrupted_run_ends_as_an_uninterrupted_one(wide, boxes, tmp_path) -> None:
    teacher, settings = folded(wide), replace(UNTRANSFORMED, learning_rate=1e-3)
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


def test_the_callers_teacher_stays_as_it_was(wide, boxes, tmp_path) -> None:
    teacher = folded(wide)
    names = [name for name, _ in teacher.module.named_modules()]
    run(teacher, lambda: slim(teacher, 0.5), boxes, tmp_path / "run", replace(UNTRANSFORMED, steps=1))
    assert [name for name, _ in teacher.module.named_modules()] == names
