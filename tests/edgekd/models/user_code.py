"""A module of networks as a user might have it in the working folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FACTORY = """
import torch
from targets.input import Framing, InputSpec

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(3, 1, 3, padding=1), torch.nn.BatchNorm2d(1)
    def forward(self, x):
        return 1 + torch.relu(self.norm(self.conv(x)))

def make():
    torch.manual_seed(0)
    net = Net()
    net.input = InputSpec(Framing(16, 24))
    return net

def ratios():
    net = make()
    net.metric = False
    return net

def ratios_of_a_teacher():
    from edgekd.models.teacher import Teacher
    net = make()
    return Teacher("mine", net, net.input, "0" * 64, "mine", metric=False)

class Features(Net):
    def forward(self, x):
        return {"features": super().forward(x).expand(-1, 8, -1, -1)}

def features():
    return _described(Features())

class Silent(Net):
    def train(self, mode=True):  # keeps its BatchNorm frozen, and returns nothing
        super().train(mode)
        self.norm.eval()

def silent():
    return _described(Silent())

def half():
    return _described(Net()).half()

def double():
    return _described(Net()).double()

def full():
    return _described(Net())

def on_meta(more=False):
    with torch.device("meta"):
        net = Net()
        if more:
            net.register_buffer("grid", torch.ones(3), persistent=False)
    net.input = InputSpec(Framing(16, 24))
    return net

def on_meta_with_more():
    return on_meta(more=True)

def parallel():
    net = torch.nn.DataParallel(full())
    net.input = net.module.input
    return net

class Lazy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = torch.nn.LazyConv2d(1, 3, padding=1), torch.nn.BatchNorm2d(1)
    def forward(self, x):
        return 1 + torch.relu(self.norm(self.conv(x)))

def lazy():
    return _described(Lazy())

def _described(net):
    if type(net) is not Lazy:
        torch.nn.init.constant_(net.conv.weight, 0.125)
        torch.nn.init.zeros_(net.conv.bias)
    net.norm.running_mean.fill_(0.25)
    net.input = InputSpec(Framing(16, 24))
    return net

def bare():
    return Net()

def failing():
    raise RuntimeError("no weights here")
"""


def write_user_code(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Writes the module into `folder` and changes to it, as a user would."""
    (folder / f"{name}.py").write_text(FACTORY)
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name
