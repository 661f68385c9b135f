from __future__ import annotations

import math

import pytest
import torch

from edgekd.distill.losses import distillation_loss, log_depth


def test_a_constant_ratio_costs_its_logarithm_and_no_gradient() -> None:
    teacher = torch.rand(2, 1, 8, 8) + 1
    torch.testing.assert_close(distillation_loss(teacher * 1.25, teacher).item(), math.log(1.25), rtol=1e-5, atol=1e-6)


def test_gradients_by_hand() -> None:
    teacher = torch.ones(1, 1, 1, 4)
    student = torch.exp(torch.tensor([[[[0.0, 1.0, 0.0, 1.0]]]]))
    # Mean |difference|: 1/2. Horizontal gradients at strides 1, 2, 4: 1, 0, and no pixels left, which count nothing.
    torch.testing.assert_close(distillation_loss(student, teacher).item(), 0.5 + 0.5 * 1.0)


def test_gradients_run_along_rows_and_columns_at_every_scale() -> None:
    """Pixel by pixel: at strides 2 and 4, neighbours are two and four pixels apart."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.rand(2, 1, 7, 10, generator=generator, dtype=torch.float64) + 0.5 for _ in range(2))
    apart = [
        [[math.log(student[n, 0, i, j] / teacher[n, 0, i, j]) for j in range(10)] for i in range(7)] for n in (0, 1)
    ]
    expected = sum(abs(value) for one in apart for row in one for value in row) / 140
    for stride in (1, 2, 4):
        rows, columns = range(0, 7, stride), range(0, 10, stride)
        down = [abs(one[i][j] - one[i - stride][j]) for one in apart for i in rows[1:] for j in columns]
        across = [abs(one[i][j] - one[i][j - stride]) for one in apart for i in rows for j in columns[1:]]
        expected += 0.5 * sum(down) / len(down) + 0.5 * sum(across) / len(across)
    assert distillation_loss(student, teacher).item() == pytest.approx(expected)


def test_depths_of_zero_or_less_lead_back_to_depth() -> None:
    depth = torch.tensor([[[[-0.5, 0.0, 0.05, 0.1, 1.0]]]], requires_grad=True)
    value = log_depth(depth)
    expected = [math.log(0.1) - 6, math.log(0.1) - 1, math.log(0.1) - 0.5, math.log(0.1), 0.0]
    torch.testing.assert_close(value.flatten().tolist(), expected, rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(value.sum(), depth)
    assert gradient.flatten()[:3].tolist() == pytest.approx([10.0, 10.0, 10.0])
    assert float(gradient.flatten()[4]) == pytest.approx(1.0)
