"""Layers that do not run: they are no part of a student that is cut out of their network."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from edgekd.models.freeze import freeze
from edgekd.models.slim import slim
from edgekd.models.teacher import Teacher
from edgekd.models.unused import drop_unused
from targets.input import Framing, InputSpec

INPUT = InputSpec(Framing(32, 48))


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU())


class _Truncated(nn.Module):
    """As PSPNet over a ResNet: its decoder reads two of three stages; a second head only runs in training."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([_stage(3, 16), _stage(16, 32), _stage(32, 256)])
        self.attend = nn.MultiheadAttention(32, 2, batch_first=True)
        self.head, self.second = nn.Conv2d(32, 1, 1), nn.Conv2d(32, 1, 1)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        for stage in self.stages[:2]:
            x = stage(x)
        tokens = x.flatten(2).transpose(1, 2)
        x = x + self.attend(tokens, tokens, tokens)[0].transpose(1, 2).reshape(x.shape)
        depth = nn.functional.interpolate(self.head(x).exp(), scale_factor=4.0)
        return (depth, self.second(x)) if self.training else depth


def _network() -> _Truncated:
    torch.manual_seed(0)
    network = _Truncated()
    for _ in range(5):
        network(torch.rand(2, 3, 32, 48))
    return network.eval()


def test_what_does_not_run_is_replaced_and_what_is_read_without_running_stays() -> None:
    network = _network()
    kept = {name for name in network.state_dict() if not name.startswith(("stages.2.", "second."))}
    before = copy.deepcopy(network)
    drop_unused(network, INPUT)
    assert set(network.state_dict()) == kept
    assert "attend.out_proj.weight" in kept
    pictures = torch.rand(3, 3, 32, 48)
    torch.testing.assert_close(network(pictures), before(pictures), rtol=0, atol=0)


def test_a_student_has_no_weights_of_layers_that_do_not_run() -> None:
    teacher = freeze(Teacher("truncated", _network(), INPUT, digest="0" * 64, source="made for a test"))
    student = slim(teacher, 0.5)
    assert not [name for name in student.state_dict() if "stages.2." in name or "second." in name]
    assert student.train()(torch.rand(2, 3, 32, 48)).shape == (2, 1, 32, 48)
    assert "stages.2.0.weight" in teacher.module.state_dict()
