from __future__ import annotations

import pytest
import torch

from edgekd.distill.moments import Moments, RunningMoments, channel_moments


def test_the_running_estimate_is_that_of_all_pictures_together() -> None:
    """Two halves of equal weight: the variance between their means is part of the variance of the whole."""
    x = torch.cat([torch.randn(4, 2, 8, 8), torch.randn(4, 2, 8, 8) + 3])
    running = RunningMoments(momentum=0.5)
    for half in (x[:4], x[4:]):
        estimate = running.update(Moments(half.mean((0, 2, 3)), half.var((0, 2, 3), correction=0)))
    torch.testing.assert_close(estimate.mean, x.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(estimate.variance, x.var((0, 2, 3), correction=0), rtol=1e-4, atol=1e-5)


def test_the_running_estimate_passes_the_whole_gradient() -> None:
    running = RunningMoments(momentum=0.9)
    running.update(Moments(torch.zeros(1), torch.ones(1)))
    mean = torch.ones(1, requires_grad=True)
    running.update(Moments(mean, torch.ones(1))).mean.sum().backward()
    assert mean.grad is not None and mean.grad.item() == 1.0


def test_momentum_is_the_share_of_what_was_seen_before() -> None:
    """Of means 0 and 10 and no spread within a batch: 2.5 with a momentum of 0.75, and the spread of 0 and 10 there."""
    running = RunningMoments(momentum=0.75)
    running.update(Moments(torch.zeros(1), torch.zeros(1)))
    estimate = running.update(Moments(torch.full((1,), 10.0), torch.zeros(1)))
    assert (estimate.mean.item(), estimate.variance.item()) == pytest.approx((2.5, 0.25 * 100 - 2.5**2))


def test_moments_of_half_precision_are_in_float32() -> None:
    """At a mean of twenty deviations, E[x^2] - E[x]^2 in bfloat16 would be pure rounding error."""
    x = (torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) + 20).bfloat16()
    mean, variance = channel_moments(x)
    assert mean.dtype is variance.dtype is torch.float32
    torch.testing.assert_close(mean, x.float().mean((0, 2, 3)), rtol=1e-4, atol=0)
    torch.testing.assert_close(variance, x.float().var((0, 2, 3), correction=0), rtol=1e-2, atol=0)


def test_running_moments_of_a_checkpoint_go_on_on_another_device() -> None:
    """A checkpoint is read into the CPU's memory and a GPU continues from it; the device `meta` stands for that GPU."""
    before = RunningMoments(0.5)
    before.update(Moments(torch.ones(3), torch.ones(3)))
    after = RunningMoments(0.5)
    after.load_state_dict(before.state_dict())
    there = torch.device("meta")
    assert after.update(Moments(torch.ones(3, device=there), torch.ones(3, device=there))).mean.device == there
