"""A small teacher and simulated pictures that are quick to make: coloured boxes before a shaded wall."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from edgekd.models.teacher import Teacher
from edgekd.models.teachers import load_teacher
from edgekd.simulate.sample import SimulatedImage
from targets.input import Framing, InputSpec

HEIGHT, WIDTH = 32, 48


class Boxes:
    """An ImageSource of `count` pictures with three boxes each."""

    digest = "boxes"

    def __init__(self, count: int = 40) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> SimulatedImage:
        rng = np.random.default_rng(index)
        rgb = np.full((HEIGHT, WIDTH, 3), rng.integers(60, 200, 3), np.uint8)
        rgb = (rgb * np.linspace(0.6, 1, HEIGHT)[:, None, None]).astype(np.uint8)
        ids = np.zeros((HEIGHT, WIDTH), np.uint16)
        for number in range(1, 4):
            top, left = rng.integers(0, HEIGHT - 10), rng.integers(0, WIDTH - 10)
            box = np.s_[top : top + 8, left : left + 9]
            rgb[box] = rng.integers(0, 255, 3)
            ids[box] = number
        return SimulatedImage(rgb, ids)


class SmallNet(nn.Module):
    """Two BatchNorm layers and a positive depth; with a stride, the second layer has its own resolution."""

    def __init__(self, channels: int = 8, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, stride, 1), nn.BatchNorm2d(channels), nn.ReLU())
        self.head = nn.Conv2d(channels, 1, 1)
        self.enlarged = 2.0 * stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        depth = (self.head(self.second(self.first(x))) + 0.5).clamp(-4, 4).exp()
        return nn.functional.interpolate(depth, scale_factor=self.enlarged)


@pytest.fixture
def boxes() -> Boxes:
    return Boxes()


@pytest.fixture
def small_net() -> type[SmallNet]:
    return SmallNet


@pytest.fixture(scope="module")
def rooms() -> Teacher:
    """The built-in teacher, which tests must not change."""
    return load_teacher("rooms")


@pytest.fixture
def teacher() -> Teacher:
    """A teacher with the statistics of darker, redder pictures than `Boxes` gives."""
    return _teacher("small", SmallNet, tint=(0.9, 0.5, 0.35))


@pytest.fixture
def teacher_to_cut() -> Teacher:
    """A teacher of 32 channels, with the statistics of the pictures that `Boxes` gives."""
    return _teacher("wide", lambda: SmallNet(32), tint=(1.0, 1.0, 1.0))


def _teacher(name: str, make: Callable[[], nn.Module], tint: tuple[float, float, float]) -> Teacher:
    torch.manual_seed(1)
    module, source = make().train(), Boxes()
    pictures = torch.stack([torch.from_numpy(source[i].rgb).permute(2, 0, 1).float() / 255 for i in range(40)])
    with torch.no_grad():
        for _ in range(60):
            module(pictures * torch.tensor(tint).view(1, 3, 1, 1))
    module.eval().requires_grad_(False)
    return Teacher(name, module, InputSpec(Framing(HEIGHT, WIDTH)), digest=name, source="made for a test")
