from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from calibration.errors import ModelError
from edgekd.distill.statistics import (
    Moments,
    RunningMoments,
    StoredStatistics,
    _AffineWithMoments,
    observe,
    statistics_distance,
)
from edgekd.models.teacher import Teacher


def stored(mean: list[float], variance: list[float], alive: list[float] | None = None) -> StoredStatistics:
    moments = Moments(torch.tensor(mean), torch.tensor(variance))
    living = torch.tensor(alive) if alive else torch.ones(len(mean))
    return StoredStatistics(("layer",), (moments,), (torch.tensor(0.0),), (living,))


def test_an_observed_teacher_gives_the_same_depth_and_the_moments_that_hooks_see(teacher: Teacher) -> None:
    seen: dict[str, torch.Tensor] = {}
    for name, layer in teacher.module.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_pre_hook(lambda _, inputs, name=name: seen.__setitem__(name, inputs[0]))
    x = torch.rand(5, 3, 32, 48)
    expected = teacher.module(x)
    observed, statistics = observe(teacher.module)
    depth, moments = observed(x)
    torch.testing.assert_close(depth, expected, rtol=1e-5, atol=1e-6)
    assert statistics.names == tuple(seen) == ("first.1", "second.1")
    for moment, values in zip(moments, seen.values(), strict=True):
        torch.testing.assert_close(moment.mean, values.double().mean((0, 2, 3)).float(), rtol=1e-5, atol=1e-6)
        variance = values.double().var((0, 2, 3), correction=0).float()
        torch.testing.assert_close(moment.variance, variance, rtol=1e-4, atol=1e-6)


def test_the_fused_gradient_is_the_numerical_one() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    scale = torch.rand(3, generator=generator, dtype=torch.float64)
    shift = torch.rand(3, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: _AffineWithMoments.apply(x, scale, shift), (x,))


def test_distance_by_hand() -> None:
    seen = [Moments(torch.tensor([1.0, 0.0]), torch.tensor([4.0, 4.0 * math.e]))]
    distance = statistics_distance(seen, stored([0.0, 0.0], [4.0, 4.0]))
    # Channel 0: mean off by 1 at variance 4: 1/4. Channel 1: log variance ratio 1: 1/2. Mean over channels.
    torch.testing.assert_close(distance, torch.tensor([(0.25 + 0.5) / 2]))


def test_a_channel_that_stored_no_variance_counts_nothing() -> None:
    seen = [Moments(torch.tensor([1.0, 99.0]), torch.tensor([4.0, 50.0]))]
    distance = statistics_distance(seen, stored([0.0, 0.0], [4.0, 1e-12], alive=[1.0, 0.0]))
    torch.testing.assert_close(distance, torch.tensor([0.25]))


def test_the_running_estimate_is_that_of_all_pictures_together() -> None:
    """Two halves of equal weight: the variance between their means is part of the variance of the whole."""
    x = torch.cat([torch.randn(4, 2, 8, 8), torch.randn(4, 2, 8, 8) + 3])
    running = RunningMoments(momentum=0.5)
    for half in (x[:4], x[4:]):
        moments = Moments(half.mean((0, 2, 3)), half.var((0, 2, 3), correction=0))
        estimate = running.update([moments])[0]
    torch.testing.assert_close(estimate.mean, x.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(estimate.variance, x.var((0, 2, 3), correction=0), rtol=1e-4, atol=1e-5)


def test_the_running_estimate_passes_the_whole_gradient() -> None:
    running = RunningMoments(momentum=0.9)
    running.update([Moments(torch.zeros(1), torch.ones(1))])
    mean = torch.ones(1, requires_grad=True)
    running.update([Moments(mean, torch.ones(1))])[0].mean.sum().backward()
    assert mean.grad is not None and mean.grad.item() == 1.0


def test_a_teacher_without_statistics_is_refused_with_what_still_can_be_done() -> None:
    with pytest.raises(ModelError, match="--no-transformation"):
        observe(nn.Conv2d(3, 1, 3))
