from __future__ import annotations

import math

import torch

from edgekd.distill.losses import distillation_loss


def test_a_constant_ratio_costs_its_logarithm_and_no_gradient() -> None:
    teacher = torch.rand(2, 1, 8, 8) + 1
    torch.testing.assert_close(distillation_loss(teacher * 1.25, teacher).item(), math.log(1.25), rtol=1e-5, atol=1e-6)


def test_gradients_by_hand() -> None:
    teacher = torch.ones(1, 1, 1, 4)
    student = torch.exp(torch.tensor([[[[0.0, 1.0, 0.0, 1.0]]]]))
    # |difference| 1/2. Across at strides 1, 2, 4: 1, 0, none left (nothing to compare counts nothing).
    torch.testing.assert_close(distillation_loss(student, teacher).item(), 0.5 + 0.5 * 1.0)


def test_depths_of_zero_do_not_break_it() -> None:
    assert math.isfinite(distillation_loss(torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)).item())
