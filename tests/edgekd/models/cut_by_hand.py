"""Teachers that are cut in the tests, and what the student cut out of them must give."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from onnx import helper
from onnx_graphs import network, save
from torch import Tensor, nn

from edgekd.models.batch_norm import batch_norm_layers
from edgekd.models.freeze import freeze
from edgekd.models.slim import Slim
from edgekd.models.teacher import Teacher
from edgekd.models.teachers import load_teacher
from targets.input import Framing, InputSpec


def conv_norm(name: str, source: str, size: int, channels: int, draw: np.random.Generator) -> tuple[list, dict]:
    """Conv, BatchNormalization and Relu from `source` to `name`."""
    shape = (channels, 3 if source == "x" else channels, size, size)
    constants = {
        f"{name}_w": draw.normal(size=shape),
        f"{name}_s": draw.uniform(0.5, 2, channels), f"{name}_b": np.ones(channels),
        f"{name}_m": draw.normal(size=channels), f"{name}_v": draw.uniform(0.5, 2, channels),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", [source, f"{name}_w"], [f"{name}_c"], pads=[size // 2] * 4),
        helper.make_node("BatchNormalization", [f"{name}_c", *list(constants)[1:]], [f"{name}_n"]),
        helper.make_node("Relu", [f"{name}_n"], [name]),
    ]
    return nodes, {key: value.astype(np.float32) for key, value in constants.items()}


def onnx_teacher(between: list, constants: dict[str, np.ndarray], folder: Path, channels: int = 16) -> Teacher:
    """An ONNX file: a block from the picture to `a`, `between` from there to `b`, a block and one map."""
    draw = np.random.default_rng(0)
    first, second = conv_norm("a", "x", 3, channels, draw), conv_norm("c", "b", 3, channels, draw)
    last = helper.make_node("Conv", ["c", "last"], ["y"])
    constants = {
        "last": np.ones((1, channels, 1, 1), np.float32), **first[1], **second[1],
        **{name: np.asarray(value) for name, value in constants.items()},
    }  # fmt: skip
    return load_teacher(str(save(network([*first[0], *between, *second[0], last], constants), folder / "net.onnx")))


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Between(nn.Module):
    """Blocks around `between`, which reads 32 channels; `blocks` are for it to use, and `width` is what it gives."""

    def __init__(
        self, between: Callable[[nn.ModuleList, Tensor, Tensor], Tensor], width: int, *blocks: nn.Module
    ) -> None:
        super().__init__()
        self.first, self.blocks, self.then = block(3, 32), nn.ModuleList(blocks), block(width, 32)
        self.last, self.between = nn.Conv2d(32, 1, 1), between

    def forward(self, x: Tensor) -> Tensor:
        depth: Tensor = self.last(self.then(self.between(self.blocks, self.first(x), x))).exp()
        return depth


def module_teacher(
    between: Callable[[nn.ModuleList, Tensor, Tensor], Tensor], width: int, *blocks: nn.Module
) -> Teacher:
    """A teacher around `between`, with BatchNorm layers that have learnt something."""
    net = Between(between, width, *copy.deepcopy(blocks))
    torch.manual_seed(0)
    for layer in batch_norm_layers(net).values():
        nn.init.uniform_(layer.weight, 0.5, 1.5)
        nn.init.normal_(layer.bias)
    return freeze(Teacher("parts", net, InputSpec(Framing(16, 16)), digest="d", source="a test"))


def assert_cut_as_by_hand(teacher: Teacher, student: Slim) -> None:
    """A student must give what its teacher gives whose other channels are set to 0 behind each BatchNorm."""
    whole = copy.deepcopy(teacher.module)
    for name, kept in student.kept.items():
        layer = whole.get_submodule(name)
        mask = torch.zeros(layer.num_features, 1, 1)
        mask[list(kept)] = 1
        layer.register_forward_hook(lambda layer, given, out, mask=mask: out * mask)
    pictures = torch.randn(2, 3, teacher.input.height, teacher.input.width, generator=torch.manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(student.eval()(pictures), whole(pictures), rtol=1e-3, atol=1e-4)
