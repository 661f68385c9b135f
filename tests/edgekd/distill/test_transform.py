from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from calibration.errors import ModelError
from edgekd.distill.settings import DistillSettings, TransformSettings
from edgekd.distill.statistics import stored_statistics
from edgekd.distill.tensors import to_tensor
from edgekd.distill.transform import TransformNet
from edgekd.distill.transform_fit import TransformFit
from edgekd.models.teacher import Teacher


def test_it_starts_as_the_identity() -> None:
    x = torch.rand(2, 3, 30, 41)
    y, change = TransformNet()(x)
    torch.testing.assert_close(y, x, rtol=0, atol=1e-6)
    assert change.item() == 0


def test_its_output_stays_in_range_and_saturated_pixels_can_come_back() -> None:
    net = TransformNet()
    with torch.no_grad():
        net.globals[9:12] = 2.0  # an offset far beyond white
    y, _ = net(torch.rand(2, 3, 16, 16))
    assert y.max() <= 1 and y.min() >= 0
    y.sum().backward()
    assert net.globals.grad is not None and net.globals.grad[9:12].abs().min() > 0


def test_noise_is_added_in_the_strength_that_was_learnt() -> None:
    net, x = TransformNet(), torch.full((1, 3, 64, 64), 0.5)
    torch.nn.init.constant_(net.noise, math.log(0.1))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    clean, noisy = net(x)[0], net(x, noise)[0]
    torch.testing.assert_close(noisy - clean, 0.1 * noise, rtol=0, atol=1e-5)


def test_the_noise_of_a_step_is_decided_by_seed_and_step(teacher: Teacher) -> None:
    fit = TransformFit(teacher, stored_statistics(teacher.module), DistillSettings(seed=3), torch.device("cpu"))
    x = torch.zeros(2, 3, 8, 8)
    assert torch.equal(fit.noise(x, 4), fit.noise(x, 4))
    assert not torch.equal(fit.noise(x, 4), fit.noise(x, 5))
    other = TransformFit(teacher, stored_statistics(teacher.module), DistillSettings(seed=4), torch.device("cpu"))
    assert not torch.equal(fit.noise(x, 4), other.noise(x, 4))
    assert not torch.equal(fit.net.local[0].weight, other.net.local[0].weight)  # what it starts from, too


def test_a_batch_in_parts_forgets_as_much_of_the_one_before_as_a_whole_batch(teacher: Teacher) -> None:
    settings = DistillSettings(batch=8, accumulate=4, transform=TransformSettings(momentum=0.5))

    def seen(*batches: torch.Tensor) -> torch.Tensor:
        fit = TransformFit(teacher, stored_statistics(teacher.module), settings, torch.device("cpu"))
        for batch in batches:
            for _ in range(4):  # its four parts are alike
                fit.accumulate(batch, torch.zeros_like(batch), 0.25)
        return fit.state_dict()["running"]["mean"]

    dark, bright = 0.3 * torch.rand(2, 3, 32, 48), 1 - 0.3 * torch.rand(2, 3, 32, 48)
    torch.testing.assert_close(seen(dark, bright), (seen(dark) + seen(bright)) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("share", "layers"), [(0.25, 1), (1.0, 2)])
def test_only_its_share_of_the_layers_is_matched(teacher: Teacher, share: float, layers: int) -> None:
    settings = DistillSettings(transform=TransformSettings(layers=share))
    fit = TransformFit(teacher, stored_statistics(teacher.module), settings, torch.device("cpu"))
    fit.accumulate(torch.rand(2, 3, 32, 48), torch.zeros(2, 3, 32, 48), 1.0)
    assert fit.observed.sizes == (8,) * layers


@pytest.mark.parametrize("pull", [-50.0, 50.0])
def test_the_local_part_adds_and_takes_away_fifteen_per_cent_at_most(pull: float) -> None:
    net, x = TransformNet(), torch.full((1, 3, 16, 16), 0.5)
    torch.nn.init.constant_(net.local[-1].bias, pull)
    y, change = net(x)
    torch.testing.assert_close(y - x, torch.full_like(x, math.copysign(0.15, pull)))
    assert change.item() == pytest.approx(0.15**2)


@pytest.mark.parametrize(("learnt", "deviation"), [(5.0, math.exp(-2)), (-20.0, math.exp(-7))])
def test_noise_stays_within_what_a_sensor_has(learnt: float, deviation: float) -> None:
    net, x = TransformNet(), torch.full((1, 3, 16, 16), 0.5)
    torch.nn.init.constant_(net.noise, learnt)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).sign()
    torch.testing.assert_close(net(x, noise)[0] - net(x)[0], deviation * noise, rtol=1e-3, atol=1e-6)


def test_local_change_costs_its_weight_and_an_update_goes_as_far_as_its_rate(teacher: Teacher) -> None:
    gradients, x = [], torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    for weight in (1.0, 2.0, 4.0):
        settings = DistillSettings(transform=TransformSettings(keep_weight=weight, learning_rate=0.01))
        fit = TransformFit(teacher, stored_statistics(teacher.module), settings, torch.device("cpu"))
        torch.nn.init.constant_(fit.net.local[-1].bias, 0.5)
        fit.accumulate(x, torch.zeros_like(x), 1.0)
        gradients.append(fit.net.local[-1].bias.grad.clone())
    # The change is tanh(0.5)^2 x 0.15^2 in each of three channels, on average over them.
    slope = 2 * math.tanh(0.5) * (1 - math.tanh(0.5) ** 2) * 0.15**2 / 3
    torch.testing.assert_close(gradients[1] - gradients[0], torch.full((3,), slope), rtol=1e-2, atol=1e-5)
    torch.testing.assert_close(gradients[2] - gradients[1], torch.full((3,), 2 * slope), rtol=1e-2, atol=1e-5)
    before = fit.net.local[-1].bias.detach().clone()
    fit.update(0.5)  # Adam's first step is as long as its rate
    moved = (fit.net.local[-1].bias.detach() - before).abs()
    torch.testing.assert_close(moved, torch.full((3,), 0.005), rtol=1e-3, atol=0)


def test_fitting_brings_the_teachers_statistics_nearer(teacher: Teacher, boxes) -> None:
    settings = DistillSettings(
        steps=300, batch=8, set_aside=8, transform=TransformSettings(learning_rate=0.02, momentum=0.5)
    )
    fit = TransformFit(teacher, stored_statistics(teacher.module), settings, torch.device("cpu"))
    x = to_tensor(np.stack([boxes[i].rgb for i in range(32)]), torch.device("cpu"))
    distances = []
    for step in range(300):
        distances.append(fit.accumulate(x, fit.noise(x, step), 1.0)[2]["statistics"])
        fit.update(1.0)
    assert distances[-1] < 0.4 * distances[0]
    # The stored statistics are those of a red tint: the transformation found it.
    transformed = fit.net(x)[0].mean((0, 2, 3))
    assert transformed[0] > transformed[2] * 1.5


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("no_grad", r"The teacher runs its layer network\.first\.1 without gradients"),
        ("detach", "No gradient passes through the teacher small"),
    ],
)
def test_a_teacher_that_lets_no_gradient_through_is_refused(teacher: Teacher, without: str, said: str) -> None:
    """Deployment code often uses torch.no_grad: the transformation would stay the identity, unnoticed."""

    class Deployed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = teacher.module

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if without == "detach":
                return self.network(x.detach())
            with torch.no_grad():
                return self.network(x)

    deployed = replace(teacher, module=Deployed())
    fit = TransformFit(deployed, stored_statistics(deployed.module), DistillSettings(), torch.device("cpu"))
    with pytest.raises(ModelError, match=said):
        fit.accumulate(torch.rand(4, 3, 32, 48), torch.zeros(4, 3, 32, 48), 1.0)


@pytest.mark.filterwarnings("ignore:.*autocast:FutureWarning")  # torch 2.4 uses what it deprecates
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_teacher_that_computes_parts_of_itself_again_is_seen_once(teacher: Teacher, reentrant: bool) -> None:
    """As in networks trained with little memory: layers in a checkpoint also run in the backward pass."""

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(teacher.module)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first = self.network.first
            y = checkpoint(first, x, use_reentrant=reentrant) if x.requires_grad else first(x)
            depth = (self.network.head(self.network.second(y)) + 0.5).clamp(-4, 4).exp()
            return nn.functional.interpolate(depth, scale_factor=2.0)

    def distances(module: nn.Module) -> list[float]:
        settings = DistillSettings(transform=TransformSettings(layers=1.0))
        asked = replace(teacher, module=module)
        fit = TransformFit(asked, stored_statistics(module), settings, torch.device("cpu"))
        x, found = torch.rand(4, 3, 32, 48, generator=torch.Generator().manual_seed(0)), []
        for step in range(3):
            found.append(fit.accumulate(x, fit.noise(x, step), 1.0)[2]["statistics"])
            fit.update(1.0)
        return found

    if reentrant:
        with pytest.raises(ModelError, match=r"layer network\.first\.1 without gradients.*use_reentrant=True"):
            distances(Checkpointed())
    else:
        assert distances(Checkpointed()) == pytest.approx(distances(teacher.module), rel=1e-5)
