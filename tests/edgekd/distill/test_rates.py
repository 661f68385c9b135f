"""The share of the learning rate that each weight of a student gets."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from edgekd.distill.rates import over_steps, rate_shares
from edgekd.distill.settings import DistillSettings
from edgekd.distill.student_fit import StudentFit
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.models.batch_norm import batch_norm_layers
from edgekd.models.pictures import probe_pictures
from edgekd.models.slim import slim
from edgekd.models.stored import layers_as_run
from edgekd.models.teacher import Teacher

CPU = torch.device("cpu")


@pytest.mark.parametrize(("steps", "rise"), [(100, 10), (2000, 50)])
def test_the_rate_rises_over_a_tenth_of_the_steps_or_fifty_and_falls_to_a_hundredth(steps: int, rise: int) -> None:
    rates = [over_steps(step / steps, DistillSettings(steps=steps)) for step in range(steps + 1)]
    assert rates[:rise] == pytest.approx([(step + 1) / rise for step in range(rise)])
    assert rates[rise] == pytest.approx(1) and rates[-1] == pytest.approx(0.01)
    assert rates[(steps + rise) // 2] == pytest.approx((1 + 0.01) / 2)  # half-way along the cosine
    assert all(after < before for before, after in pairwise(rates[rise:]))


@torch.no_grad()
def shrink(module: nn.Module, rooms: Teacher, factor: float) -> nn.Module:
    """Scales the weights before each BatchNorm layer by `factor`, in place; the function stays the same."""
    for layer in layers_as_run(module, torch.zeros(1, 3, rooms.input.height, rooms.input.width)):
        if layer.norm is None:
            continue
        layer.convolution.weight.mul_(factor)
        assert layer.norm.running_mean is not None and layer.norm.running_var is not None
        layer.norm.running_mean.mul_(factor)
        layer.norm.running_var.mul_(factor**2)
        layer.norm.eps *= factor**2
    return module


def trained(rooms: Teacher, factor: float, pictures: Tensor, wanted: Tensor, *, scaled: bool) -> tuple[Tensor, Tensor]:
    """Depths of a student of a shrunk teacher, before and after a few steps: [N, 1, H, W] each."""
    student = slim(rooms, 0.25)  # cut first: the size of the weights decides which channels go
    shrink(student.network, rooms, factor)
    shares = rate_shares(student, shrink(copy.deepcopy(rooms.module), rooms, factor)) if scaled else {}
    fit = StudentFit(student, rooms.input, DistillSettings(learning_rate=1e-3), CPU, shares=shares)
    before = fit.predict(pictures)
    for _ in range(8):
        fit.accumulate(pictures, wanted)
        fit.update(1.0)
    return before, fit.predict(pictures)


def test_a_teacher_of_smaller_weights_teaches_the_same(rooms: Teacher) -> None:
    pictures = to_tensor(probe_pictures(rooms.input.height, rooms.input.width, 2), CPU)
    wanted = rooms.module(Normalise(rooms.input)(pictures)).detach() * 1.1
    before, small = trained(rooms, 1 / 8, pictures, wanted, scaled=True)
    same, smaller = trained(rooms, 1 / 32, pictures, wanted, scaled=True)
    unscaled = trained(rooms, 1 / 32, pictures, wanted, scaled=False)[1]
    torch.testing.assert_close(before, same, rtol=1e-3, atol=1e-3)
    moved = float((small - before).abs().mean())
    # Not quite the same: gradients are clipped, and larger where weights are smaller.
    assert float((smaller - small).abs().mean()) < 0.25 * moved
    assert float((unscaled - small).abs().mean()) > moved


def test_shares_are_powers_of_two_in_proportion_to_the_teachers_weights(rooms: Teacher) -> None:
    teacher = replace(rooms, module=shrink(copy.deepcopy(rooms.module), rooms, 1 / 16))
    first = next(module for module in teacher.module.modules() if isinstance(module, nn.Conv2d))
    name, norm = next(iter(batch_norm_layers(teacher.module).items()))
    with torch.no_grad():
        first.weight.copy_(0.05 / 16 * torch.ones_like(first.weight))  # a thirty-second of an RMS of 0.1
        norm.weight.fill_(0.25)
    convolution = next(name for name, module in teacher.module.named_modules() if module is first)
    shares = rate_shares(slim(teacher, 0.25), teacher.module)
    assert shares[f"network.{convolution}.weight"] == 1 / 32
    assert shares[f"network.{name}.weight"] == shares[f"network.{name}.bias"] == 1 / 4
    assert set(shares) == {name for name, _ in slim(teacher, 0.25).named_parameters()}
    assert all(0 < share <= 1 for share in shares.values())


def test_weights_of_the_usual_size_get_all_of_it(rooms: Teacher) -> None:
    shares = rate_shares(slim(rooms, 0.25), rooms.module)
    weights = [shares[f"network.{name}.weight"] for name, m in rooms.module.named_modules() if isinstance(m, nn.Conv2d)]
    assert sum(share == 1 for share in weights) >= len(weights) - 1  # except the last, which gives the depth
