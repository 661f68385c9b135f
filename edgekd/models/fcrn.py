"""FCRN (Laina et al., "Deeper Depth Prediction with Fully Convolutional Residual Networks", 3DV 2016).

A ResNet, a 1x1 convolution, and four up-projections. With ResNet-50 it has 63.6 M parameters, with ResNet-18 13.7 M.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.models.blocks import TYPICAL_DEPTH, halved
from edgekd.models.resnet import RESNETS, ResNetEncoder
from targets.input import InputSpec

__all__ = ["FCRN", "fcrn_resnet18", "fcrn_resnet50"]


class _UpProjection(nn.Module):
    """Twice the resolution, half the channels: a branch of 5x5 and 3x3 convolutions beside a 5x5 one.

    The authors enlarge by inserting zeros between pixels. This uses nearest neighbours, which every runtime supports.
    """

    def __init__(self, inputs: int, size: tuple[int, int]) -> None:
        super().__init__()
        outputs = inputs // 2
        self.enlarge = nn.Upsample(size=size, mode="nearest")
        self.conv1 = nn.Conv2d(inputs, outputs, 5, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv3 = nn.Conv2d(inputs, outputs, 5, padding=2, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enlarge(x)
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.bn3(self.conv3(x)))


class FCRN(nn.Module):
    """Takes normalised float32 RGB [N, 3, H, W] at the resolution of `input`; gives metres [N, 1, H, W]."""

    def __init__(self, input: InputSpec, resnet: str) -> None:  # noqa: A002 - the field's own name
        super().__init__()
        size, deep = (input.height, input.width), RESNETS[resnet].channels[-1]
        self.encoder = ResNetEncoder(RESNETS[resnet])
        self.conv = nn.Conv2d(deep, deep // 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(deep // 2)
        self.up = nn.Sequential(*(_UpProjection(deep >> index + 1, halved(size, 4 - index)) for index in range(4)))
        self.depth = nn.Conv2d(deep // 32, 1, 3, padding=1)
        self.enlarge = nn.Upsample(size=size, mode="bilinear", align_corners=False)
        nn.init.normal_(self.depth.weight, std=0.01)
        assert self.depth.bias is not None
        nn.init.constant_(self.depth.bias, TYPICAL_DEPTH)

    def forward(self, x: Tensor) -> Tensor:
        deep = self.bn(self.conv(self.encoder(x)[-1]))
        depth: Tensor = self.enlarge(self.depth(self.up(deep)))
        return depth


def fcrn_resnet50(input: InputSpec) -> nn.Module:  # noqa: A002
    """63.6 M parameters."""
    return FCRN(input, "resnet50")


def fcrn_resnet18(input: InputSpec) -> nn.Module:  # noqa: A002
    """13.7 M parameters."""
    return FCRN(input, "resnet18")
