"""Small teachers for distillations, each but the first odd in one way."""

from __future__ import annotations

import torch
from torch import nn

from edgekd.models.teacher import Teacher
from targets.input import Framing, InputSpec

HEIGHT, WIDTH = 64, 96
TEACHER = "odd_teachers:with_statistics"


class Net(nn.Module):
    def __init__(self, normalised: bool) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(8) if normalised else nn.Identity()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), norm, nn.ReLU(), nn.Conv2d(8, 1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(self.body(x).clamp(-2, 2).exp(), scale_factor=2.0)


def _teacher(name: str, normalised: bool) -> Teacher:
    torch.manual_seed(3)
    net = Net(normalised).train()
    with torch.no_grad():
        for _ in range(30):
            net(torch.rand(4, 3, HEIGHT, WIDTH) * torch.tensor([0.9, 0.6, 0.4]).view(1, 3, 1, 1))
    return Teacher(name, net.eval(), InputSpec(Framing(HEIGHT, WIDTH)), digest=name, source="made for a test")


def with_statistics() -> Teacher:
    return _teacher("with", normalised=True)


def without_statistics() -> Teacher:
    return _teacher("without", normalised=False)


class _Deciding(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * (1.0 if x.mean() > 0 else 2.0)


class _Blending(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        depth = super().forward(x)
        return torch.lerp(depth, depth, torch.full((1, 1, 1, 1), 0.5))


def without_half_precision() -> Teacher:
    made = _teacher("blends", normalised=True)
    made.module.__class__ = _Blending
    return made


def that_decides() -> Teacher:
    made = _teacher("decides", normalised=True)
    made.module.__class__ = _Deciding
    return made


class Blind(Net):
    brightness = -1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        unseen = (x.mean((1, 2, 3), keepdim=True) - self.brightness).abs() < 1e-6
        return super().forward(x).masked_fill(unseen, torch.inf)


def that_is_blind() -> Teacher:
    """It has no depth for pictures of one brightness."""
    made = _teacher("blind", normalised=True)
    made.module.__class__ = Blind
    return made


def with_two_layers() -> Teacher:
    """The statistics of its second layer are beyond any picture: no transformation can bring pictures nearer."""
    torch.manual_seed(3)
    made = _teacher("two", normalised=True)
    body = nn.Sequential(made.module.body[0:3], nn.BatchNorm2d(8), made.module.body[3])
    body[1].running_mean.fill_(500.0)
    body[1].weight.data.fill_(0.01)
    body[1].bias.data.fill_(4.0)
    made.module.body = body.eval()
    return made
