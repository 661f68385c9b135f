"""The lightweight network of Hu et al., "Boosting Light-Weight Depth Estimation via Knowledge Distillation" (2021).

Each of four encoder scales passes squeeze-and-excitation and a 5x5 convolution to 16 channels, and is enlarged to twice
the finest scale. Three 5x5 convolutions turn all of them into depth. With ResNet-34 it has 21.9 M parameters, with
MobileNet-V2 1.7 M: the pairs of arXiv 2208.12464.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.models.blocks import TYPICAL_DEPTH, halved
from edgekd.models.mobilenet_v2 import MobileNetV2Encoder
from edgekd.models.resnet import RESNETS, ResNetEncoder
from targets.input import InputSpec

__all__ = ["HuDepth", "hu_mobilenet_v2", "hu_resnet34"]

_WIDTH = 16  # channels per scale
_REDUCTION = 16  # factor of squeeze-and-excitation


class _SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        middle = max(1, channels // _REDUCTION)
        self.down = nn.Conv2d(channels, middle, 1, bias=False)
        self.up = nn.Conv2d(middle, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))
        return x * scale


class _Scale(nn.Module):
    """Turns one scale of the encoder into 16 channels at `size`."""

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.excite = _SqueezeExcite(channels)
        self.conv = nn.Conv2d(channels, _WIDTH, 5, padding=2, bias=False)
        self.bn = nn.BatchNorm2d(_WIDTH)
        self.enlarge = nn.Upsample(size=size, mode="bilinear", align_corners=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.enlarge(F.relu(self.bn(self.conv(self.excite(x)))))
        return y


class HuDepth(nn.Module):
    """Takes normalised float32 RGB [N, 3, H, W] at the resolution of `input`; gives metres [N, 1, H, W]."""

    def __init__(self, input: InputSpec, encoder: nn.Module, channels: Sequence[int]) -> None:  # noqa: A002
        super().__init__()
        size = (input.height, input.width)
        self.encoder = encoder
        self.scales = nn.ModuleList(_Scale(count, halved(size)) for count in channels)
        wide = _WIDTH * len(channels)
        self.refine = nn.Sequential(
            nn.Conv2d(wide, wide, 5, padding=2, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
            nn.Conv2d(wide, wide, 5, padding=2, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
        )
        self.depth = nn.Conv2d(wide, 1, 5, padding=2)
        self.enlarge = nn.Upsample(size=size, mode="bilinear", align_corners=False)
        nn.init.normal_(self.depth.weight, std=0.01)
        assert self.depth.bias is not None
        nn.init.constant_(self.depth.bias, TYPICAL_DEPTH)

    def forward(self, x: Tensor) -> Tensor:
        scales = [scale(features) for scale, features in zip(self.scales, self.encoder(x), strict=True)]
        depth: Tensor = self.enlarge(self.depth(self.refine(torch.cat(scales, dim=1))))
        return depth


def hu_resnet34(input: InputSpec) -> nn.Module:  # noqa: A002
    """21.9 M parameters."""
    return HuDepth(input, ResNetEncoder(RESNETS["resnet34"]), RESNETS["resnet34"].channels)


def hu_mobilenet_v2(input: InputSpec) -> nn.Module:  # noqa: A002
    """1.7 M parameters."""
    encoder = MobileNetV2Encoder()
    return HuDepth(input, encoder, encoder.channels)
