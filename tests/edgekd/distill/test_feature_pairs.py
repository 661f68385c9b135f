"""Which layers of a student are compared with which of its teacher."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from edgekd.distill.feature_pairs import encoder_pairs, pairs_of
from edgekd.distill.reconstruction import solvable
from edgekd.models.architectures import architecture
from edgekd.models.slim import slim
from edgekd.models.teacher import Teacher
from edgekd.models.teachers import load_teacher


def test_networks_without_a_common_resolution_have_no_pairs() -> None:
    flat = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 1, 1))
    assert encoder_pairs(flat, load_teacher("rooms").module, (192, 256)) == ()


class _OfTwoViews(nn.Module):
    """A network that sees each picture and its mirror image, stacked into one batch."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        depth = self.network(torch.cat([x, x.flip(3)]))
        one, other = depth.chunk(2)
        return (one + other.flip(3)) / 2


def test_layers_that_see_views_stacked_into_the_batch_are_left_out(rooms: Teacher) -> None:
    """The teacher sees transformed pictures and the rest apart, the student all at once: the order of views differs."""
    viewing = replace(rooms, module=_OfTwoViews(rooms.module))
    student = slim(viewing, 0.5)
    assert pairs_of(student, viewing.module, (192, 256)) == ()
    assert solvable(student, viewing.module, (192, 256))[0] == 0
    assert encoder_pairs(architecture("mobile-s").start(rooms.input), viewing.module, (192, 256)) == ()


def test_a_pooling_that_tells_places_leaves_a_resolution() -> None:
    class Unpooling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 1, 1)
            self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
            self.down, self.up = nn.Conv2d(6, 6, 3, 2, 1), nn.Upsample(scale_factor=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            pooled, places = self.pool(self.first(x))
            return self.head(self.unpool(self.up(self.down(pooled)), places))

    network = Unpooling()
    assert [(pair.teacher, pair.at) for pair in encoder_pairs(network, network, (48, 64))] == [
        ("down", (24, 32)),
        ("up", (12, 16)),
    ]


def test_layers_that_never_run_are_left_out(rooms: Teacher) -> None:
    """Such as heads for training and a classifier's last layers."""

    class Beside(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network
            self.never = nn.Sequential(nn.Conv2d(3, 16, 1), nn.BatchNorm2d(16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            depth: torch.Tensor = self.network(x)
            return depth

    size = (rooms.input.height, rooms.input.width)
    teacher = replace(rooms, module=Beside(rooms.module).eval())
    theirs = [pair.teacher for pair in pairs_of(slim(teacher, 0.5), teacher.module, size)]
    alone = [pair.teacher for pair in pairs_of(slim(rooms, 0.5), rooms.module, size)]
    assert theirs == [f"network.{name}" for name in alone]
