"""The node that compares features while the student runs, against the plain formula in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgekd.distill.feature_difference import pick_channels, with_difference

FORMATS = [torch.contiguous_format, torch.channels_last]


def _plain(mine: Tensor, theirs: Tensor, scale: Tensor) -> Tensor:
    return (scale * (mine - theirs)).square().mean()


def _features(seed: int, layout: torch.memory_format) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mine, theirs = (torch.randn(3, 5, 7, 6, generator=generator).contiguous(memory_format=layout) for _ in range(2))
    return mine, theirs, torch.rand(5, 1, 1, generator=generator) + 0.5


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_value_and_gradient_are_those_of_the_plain_formula(
    layout: torch.memory_format, dtype: torch.dtype, tolerance: float
) -> None:
    """The next operation works in place, as activations do, and the loss depends on both outputs."""
    mine, theirs, scale = _features(0, layout)
    mine, theirs = mine.to(dtype), theirs.to(dtype)
    exact = mine.double().requires_grad_()
    wanted = _plain(exact, theirs.double(), scale.double())
    (3 * exact.clamp(0, 0.5).sin().sum() + 40 * wanted).backward()

    leaf = mine.clone().requires_grad_()
    onwards, value = with_difference(leaf * 1, theirs.clone(), scale)
    (3 * onwards.clamp_(0, 0.5).sin().float().sum() + 40 * value).backward()
    assert value.dtype == torch.float32 and leaf.grad is not None and leaf.grad.dtype == dtype
    torch.testing.assert_close(value.double(), wanted, rtol=1e-6, atol=0)
    assert exact.grad is not None
    torch.testing.assert_close(leaf.grad.double(), exact.grad, rtol=tolerance, atol=tolerance)


def test_the_mean_over_millions_of_values_is_exact() -> None:
    generator = torch.Generator().manual_seed(4)
    mine, theirs = (
        torch.randn(8, 32, 112, 112, generator=generator).contiguous(memory_format=torch.channels_last)
        for _ in range(2)
    )
    scale = torch.rand(32, 1, 1, generator=generator) + 0.5
    wanted = _plain(mine.double(), theirs.double(), scale.double())
    value = with_difference(mine.requires_grad_() * 1, theirs, scale)[1]
    torch.testing.assert_close(value.double(), wanted, rtol=1e-6, atol=0)


def test_the_gradient_is_the_one_of_finite_differences() -> None:
    mine, theirs, scale = (tensor.double() for tensor in _features(1, torch.channels_last))

    def both(x: Tensor) -> tuple[Tensor, ...]:
        onwards, value = with_difference(x * 1, theirs.clone(), scale)
        return onwards.tanh(), value

    assert torch.autograd.gradcheck(both, (mine.requires_grad_(),))


def test_the_gradient_stays_in_the_memory_format_of_the_features() -> None:
    """In another format the gradient makes the backward pass of the BatchNorm before it take six times as long."""
    mine, theirs, scale = _features(2, torch.channels_last)
    mine.requires_grad_()
    seen: list[bool] = []
    before = mine * 1
    before.register_hook(lambda gradient: seen.append(gradient.is_contiguous(memory_format=torch.channels_last)))
    onwards, value = with_difference(before, theirs, scale)
    (onwards.relu_().sum() + value).backward()
    assert seen == [True]


@pytest.mark.parametrize("used", ["the mean", "the features"])
def test_either_output_may_be_used_alone(used: str) -> None:
    mine, theirs, scale = _features(5, torch.channels_last)
    exact = mine.double().requires_grad_()
    wanted = _plain(exact, theirs.double(), scale.double()) if used == "the mean" else exact.sin().sum()
    wanted.backward()
    onwards, value = with_difference(mine.requires_grad_() * 1, theirs, scale)
    (value if used == "the mean" else onwards.sin().sum()).backward()
    assert mine.grad is not None and exact.grad is not None
    torch.testing.assert_close(mine.grad.double(), exact.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("layout", FORMATS)
def test_picked_channels_are_copies_in_the_same_memory_format(layout: torch.memory_format) -> None:
    features = _features(3, layout)[0]
    picked = pick_channels(features, torch.tensor([4, 0, 2]))
    torch.testing.assert_close(picked, features[:, [4, 0, 2]], rtol=0, atol=0)
    assert picked.is_contiguous(memory_format=layout)
    picked.zero_()
    assert features.abs().min() > 0
