"""Observing a teacher: the same depth, and the moments that its layers see."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekd.distill.observing import _AffineWithMoments, observe
from edgekd.distill.statistics import stored_statistics
from edgekd.models.running_order import layer_runs
from edgekd.models.teacher import Teacher
from targets.input import Framing, InputSpec


def test_an_observed_teacher_gives_the_same_depth_and_the_moments_that_hooks_see(teacher: Teacher) -> None:
    seen: dict[str, torch.Tensor] = {}
    for name, layer in teacher.module.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_pre_hook(lambda _, inputs, name=name: seen.__setitem__(name, inputs[0]))
    x = torch.rand(5, 3, 32, 48)
    expected = teacher.module(x)
    statistics = stored_statistics(teacher.module)
    depth, moments = observe(teacher.module, statistics.names)(x)
    torch.testing.assert_close(depth, expected, rtol=1e-5, atol=1e-6)
    assert statistics.names == tuple(seen) == ("first.1", "second.1")
    for mean, variance, values in zip(
        moments.mean.split(statistics.sizes), moments.variance.split(statistics.sizes), seen.values(), strict=True
    ):
        torch.testing.assert_close(mean, values.double().mean((0, 2, 3)).float(), rtol=1e-5, atol=1e-6)
        expected = values.double().var((0, 2, 3), correction=0).float()
        torch.testing.assert_close(variance, expected, rtol=1e-4, atol=1e-6)


def test_layers_that_store_nothing_can_be_observed_too() -> None:
    """LayerNorm has its channels last, a convolution has them second; gradients reach the picture."""

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(3, 6, 4, 4)
            self.norm = nn.LayerNorm(6)
            self.head = nn.Conv2d(6, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.embed(x)
            tokens = self.norm(y.flatten(2).transpose(1, 2))
            return self.head(tokens.transpose(1, 2).reshape(y.shape))

    module = Tokens().requires_grad_(False)
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    depth, moments = observe(module, ("embed", "norm"))(x)
    torch.testing.assert_close(depth, module(x))
    torch.testing.assert_close(moments.mean[:3], x.mean((0, 2, 3)))
    torch.testing.assert_close(moments.variance[3:], module.embed(x).var((0, 2, 3), correction=0))
    moments.variance.sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0


class Activated(nn.BatchNorm2d):
    """BatchNorm and an activation in one class, as timm's BatchNormAct2d is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(super().forward(x))


class Planes(nn.LayerNorm):
    """A LayerNorm over the channels of [N, C, H, W], as torchvision's and timm's LayerNorm2d are."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def test_a_norm_without_a_scale_and_shift_of_its_own_is_observed() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Conv2d(3, 1, 1)).eval()
    module[0].running_mean.normal_()
    module[0].running_var.uniform_(0.5, 2)
    x = torch.rand(2, 3, 6, 8)
    depth, moments = observe(module, ("0",))(x)
    torch.testing.assert_close(depth, module(x))
    torch.testing.assert_close(moments.mean, x.mean((0, 2, 3)))


class ChannelsLast(nn.LayerNorm):
    """A LayerNorm of [N, H, W, C] that says so, as ConvNeXt's is."""

    data_format = "channels_last"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)


def test_channels_are_last_where_a_norm_says_so() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 8, 6, 8)  # as many rows as channels
    depth, moments = observe(nn.Sequential(ChannelsLast(8)), ("0",))(x)
    torch.testing.assert_close(depth, nn.functional.layer_norm(x, (8,)))
    torch.testing.assert_close(moments.mean, x.mean((0, 1, 2)))
    torch.testing.assert_close(moments.variance, x.var((0, 1, 2), correction=0))


@pytest.mark.parametrize("kind", [Activated, Planes])
def test_a_class_of_its_own_keeps_doing_what_it_does(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), kind(8), nn.Conv2d(8, 1, 1)
    module = nn.Sequential(*layers).eval().requires_grad_(False)
    if kind is Activated:
        layers[1].running_mean.normal_()
    x = torch.rand(2, 3, 6, 8)  # as many columns as channels, so that mixed-up axes raise no error
    depth, moments = observe(module, ("1",))(x)
    torch.testing.assert_close(depth, module(x))
    torch.testing.assert_close(moments.mean, module[0](x).mean((0, 2, 3)))


class TwoScales(nn.Module):
    """One encoder for two resolutions: its layers run twice per picture, the second time on a darker, smaller one."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Sequential(nn.Conv2d(8, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.encoder(x)
        coarse = nn.functional.interpolate(self.encoder(0.5 * x[:, :, ::2, ::2]), scale_factor=2)
        return self.head(torch.cat([fine, coarse], dim=1))


def test_what_comes_after_the_observed_layers_keeps_no_gradient_and_the_moments_keep_theirs() -> None:
    torch.manual_seed(0)
    module, spec = TwoScales().eval().requires_grad_(False), InputSpec(Framing(8, 12))
    names, x = ("encoder.1",), torch.rand(2, 3, 8, 12)
    runs = layer_runs(module, ["encoder.1", "head.1"], spec)
    assert runs == ["encoder.1", "encoder.1", "head.1"]
    gradients = []
    for observed in (observe(module, names), observe(module, names, runs=runs.count("encoder.1"))):
        given = x.clone().requires_grad_()
        depth, moments = observed(given)
        torch.testing.assert_close(depth, module(x))
        assert torch.is_grad_enabled()
        (moments.mean.sum() + moments.variance.sum()).backward()
        gradients.append((given.grad, depth.requires_grad))
    torch.testing.assert_close(gradients[0][0], gradients[1][0], rtol=0, atol=0)
    assert gradients[0][0].abs().sum() > 0 and (gradients[0][1], gradients[1][1]) == (True, False)


class OneNorm(nn.Module):
    """A BatchNorm layer that has two names and runs under both, or only under the second."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.both = both
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm = self.again = nn.BatchNorm2d(4)
        self.depth = nn.Conv2d(4, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = self.second(torch.relu(self.norm(x) if self.both else x))
        return self.depth(torch.relu(self.again(x)))


@pytest.mark.parametrize("both", [True, False])
def test_a_layer_that_runs_several_times_shows_what_it_would_store(both: bool) -> None:
    """The mean over its runs, whichever name they use."""
    torch.manual_seed(0)
    module, x = OneNorm(both).eval().requires_grad_(False), torch.rand(2, 3, 8, 12)
    observed = observe(module, ["norm"], runs=1 + both)
    depth, moments = observed(x.requires_grad_())
    assert moments.mean.requires_grad and not depth.requires_grad
    seen: list[torch.Tensor] = []
    module.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().double()))
    torch.testing.assert_close(depth, module(x).detach())
    assert len(seen) == 1 + both
    mean = torch.stack([values.mean((0, 2, 3)) for values in seen]).mean(0)
    torch.testing.assert_close(moments.mean, mean.float(), rtol=1e-5, atol=1e-6)
    variance = torch.stack([values.var((0, 2, 3), correction=0) for values in seen]).mean(0)
    torch.testing.assert_close(moments.variance, variance.float(), rtol=1e-4, atol=1e-6)


def test_the_fused_gradient_is_the_numerical_one() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    scale = torch.rand(3, generator=generator, dtype=torch.float64)
    shift = torch.rand(3, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: _AffineWithMoments.apply(x, scale, shift), (x,))
