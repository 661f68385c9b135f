"""ResNet encoders (He et al., CVPR 2016) without the classifier; names and shapes are torchvision's."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["RESNETS", "ResNetEncoder", "ResNetShape"]


@dataclass(frozen=True)
class ResNetShape:
    """The number of blocks in each of the four layers, and how much wider a block's output is than its middle."""

    blocks: tuple[int, int, int, int]
    expansion: int  # 1: two 3x3 convolutions; 4: a bottleneck

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of the four layers' outputs, at 1/4 to 1/32 of the input's resolution."""
        one, two, three, four = (width * self.expansion for width in (64, 128, 256, 512))
        return one, two, three, four


RESNETS: dict[str, ResNetShape] = {
    "resnet18": ResNetShape((2, 2, 2, 2), 1),
    "resnet34": ResNetShape((3, 4, 6, 3), 1),
    "resnet50": ResNetShape((3, 4, 6, 3), 4),
}


class _Block(nn.Module):
    """Two 3x3 convolutions and a residual."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + (x if self.downsample is None else self.downsample(x)))


class _Bottleneck(nn.Module):
    """1x1 down to `width`, 3x3, 1x1 up to four times `width`, and a residual."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = _shortcut(inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


class ResNetEncoder(nn.Module):
    """Normalised RGB [N, 3, H, W] to the outputs of the four layers, finest first."""

    def __init__(self, shape: ResNetShape) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        block = _Block if shape.expansion == 1 else _Bottleneck
        inputs, layers = 64, []
        for index, count in enumerate(shape.blocks):
            width = 64 << index
            blocks = []
            for number in range(count):
                blocks.append(block(inputs, width, 2 if index and not number else 1))
                inputs = width * shape.expansion
            layers.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = layers

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, padding=1)
        outputs = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            outputs.append(x)
        return outputs


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
