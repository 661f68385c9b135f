"""Students that are cut out of their teacher."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from calibration.errors import ModelError
from edgekd.models.checks import batch_norm_layers
from edgekd.models.slim import Slim, slim
from edgekd.models.students import build_student
from edgekd.models.teacher import Teacher
from edgekd.models.teachers import load_teacher
from edgekd.models.to_onnx import export_onnx
from targets.input import Framing, InputSpec
from targets.statistics import read_statistics


@pytest.fixture(scope="module")
def rooms() -> Teacher:
    return load_teacher("rooms")


@pytest.fixture(scope="module")
def half(rooms: Teacher) -> Slim:
    return slim(rooms, 0.5)


def test_every_filter_of_the_student_is_one_of_the_teachers(rooms: Teacher, half: Slim) -> None:
    mine, theirs = batch_norm_layers(half.network), batch_norm_layers(rooms.module)
    assert list(mine) == list(theirs)
    for name, layer in mine.items():
        kept = list(half.kept[name])
        assert len(kept) == layer.num_features < theirs[name].num_features or layer.num_features <= 8
        for part in ("weight", "bias", "running_mean", "running_var"):
            torch.testing.assert_close(getattr(layer, part).detach(), getattr(theirs[name], part)[kept])
    stem = half.network.get_submodule("stem.0").weight.detach()
    torch.testing.assert_close(stem, rooms.module.get_submodule("stem.0").weight[list(half.kept["stem.1"])])


def test_an_exported_student_knows_what_its_teacher_stored(rooms: Teacher, half: Slim, tmp_path: Path) -> None:
    """Its own layers will have seen simulated pictures only; the ranges of int8 are to hold the lost ones."""
    trained = copy.deepcopy(half)
    for layer in batch_norm_layers(trained.network).values():
        nn.init.constant_(layer.weight, 0.01)
        nn.init.zeros_(layer.bias)
    export_onnx(trained, rooms.input, tmp_path / "student.onnx", metadata={})
    exported = read_statistics(onnx.load(tmp_path / "student.onnx"))
    stem = rooms.module.get_submodule("stem.1")
    kept = list(half.kept["stem.1"])
    first = next(iter(exported.values()))
    np.testing.assert_allclose(first.mean, stem.bias[kept], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(first.deviation, stem.weight[kept].abs(), rtol=1e-3, atol=1e-4)
    assert len(exported) == len(half.kept)


def test_the_filters_with_the_largest_weights_stay(rooms: Teacher, half: Slim) -> None:
    """The stem feeds only the first stage and a skip: its group is ranked by the norms of all of these."""
    counts = sum(len(kept) for kept in half.kept.values())
    assert counts < 0.6 * sum(layer.num_features for layer in batch_norm_layers(rooms.module).values())
    merge = rooms.module.get_submodule("merges.3.refine.0").weight.flatten(1).norm(dim=1)
    kept = list(half.kept["merges.3.refine.1"])
    assert merge[kept].mean() > merge.mean()


def test_the_same_cut_gives_the_same_student_and_leaves_the_teacher_alone(rooms: Teacher, half: Slim) -> None:
    before = {name: value.clone() for name, value in rooms.module.state_dict().items()}
    again = build_student("slim-s", rooms, seed=7)
    assert isinstance(again, Slim) and again.kept == half.kept
    for name, value in half.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert all(torch.equal(before[name], value) for name, value in rooms.module.state_dict().items())
    assert not any(parameter.requires_grad for parameter in rooms.module.parameters())


@pytest.mark.parametrize(("name", "least", "most"), [("slim-s", 0.2, 0.3), ("slim-m", 0.3, 0.4), ("slim-l", 0.5, 0.6)])
def test_sizes_are_as_the_table_says(rooms: Teacher, name: str, least: float, most: float) -> None:
    def count(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    student = build_student(name, rooms)
    assert least < count(student) / count(rooms.module) < most
    with torch.no_grad():
        assert student.eval()(torch.rand(2, 3, 192, 256)).shape == (2, 1, 192, 256)


def test_its_statistics_move_even_where_the_teachers_do_not(rooms: Teacher) -> None:
    """An imported network's BatchNorm may have a momentum of 0: such a student would never learn its own statistics."""
    frozen = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16, momentum=0.0), nn.ReLU(), nn.Conv2d(16, 1, 1)
    )
    teacher = Teacher("frozen", frozen.eval(), InputSpec(Framing(16, 16)), digest="0", source="made for a test")
    student = slim(teacher, 0.5).train()
    mean = student.network[1].running_mean.clone()
    student(torch.rand(2, 3, 16, 16) + 5)
    assert not torch.equal(mean, student.network[1].running_mean)


def test_a_network_without_batch_norm_is_refused() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))
    teacher = Teacher("plain", plain, InputSpec(Framing(16, 16)), digest="0", source="made for a test")
    with pytest.raises(ModelError, match=r"no BatchNorm layers.*mobile-m"):
        slim(teacher, 0.5)
