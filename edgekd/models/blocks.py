"""Building blocks that the students and the built-in teacher share.

All consist of convolution, BatchNorm and ReLU, which fold and quantise the same way in every runtime. Widths are
multiples of 8 and no 1x1 convolution has a stride: runtimes handle this best, and torch trains it safely on a CPU (see
README.md).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "BasicBlock", "Context", "ConvBN", "InvertedResidual", "LogDepthHead", "Merge", "Separable", "halved", "initialise",
]  # fmt: skip

TYPICAL_DEPTH = 2.5
"""Metres; the output of an untrained head, so that the first steps are not spent on finding the scale of a room."""

_RESIDUAL_GAIN = 0.2
"""Initial weight of the last BatchNorm of a residual branch: a deep network that starts near the identity learns
sooner. 0 would leave channels without any weight, which quantisers handle badly."""


class ConvBN(nn.Sequential):
    """Convolution without bias, BatchNorm, and ReLU unless `relu` is False."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, groups: int = 1, relu: bool = True
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        )
        if relu:
            self.append(nn.ReLU(inplace=True))


class Separable(nn.Sequential):
    """Depthwise then pointwise convolution, each with BatchNorm and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(ConvBN(inputs, inputs, kernel, groups=inputs), ConvBN(inputs, outputs, 1))


class InvertedResidual(nn.Module):
    """MobileNetV2's block: widen, depthwise, narrow without ReLU; with a residual if the shape allows it."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expand: int) -> None:
        super().__init__()
        wide = inputs * expand
        self.residual = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            ConvBN(inputs, wide, 1),
            ConvBN(wide, wide, 3, stride=stride, groups=wide),
            ConvBN(wide, outputs, 1, relu=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class BasicBlock(nn.Module):
    """ResNet's block of two 3x3 convolutions at one width and resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvBN(channels, channels, 3), ConvBN(channels, channels, 3, relu=False))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x), inplace=True)


class Context(nn.Module):
    """Adds a 1x1 convolution of the global mean to every position, as the scale of a room is global."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.project(x.mean((2, 3), keepdim=True)))


class Merge(nn.Module):
    """One step of a decoder: the deep features, narrowed and enlarged to `size`, plus the narrowed skip."""

    def __init__(self, deep: int, skip: int, outputs: int, size: tuple[int, int], refine: nn.Module) -> None:
        super().__init__()
        self.narrow = ConvBN(deep, outputs, 1)
        self.skip = ConvBN(skip, outputs, 1, relu=False)
        self.enlarge = nn.Upsample(size=size, mode="nearest")
        self.refine = refine

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        y: Tensor = self.refine(F.relu(self.enlarge(self.narrow(deep)) + self.skip(skip)))
        return y


class LogDepthHead(nn.Module):
    """Log depth by one convolution, enlarged bilinearly to `size` and exponentiated to metres, 0.01-100 m.

    Log depth spreads a quantiser's steps evenly over relative error. The head itself is meant to stay in float.
    """

    def __init__(self, inputs: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.log_depth = nn.Conv2d(inputs, 1, 3, padding=1)
        self.enlarge = nn.Upsample(size=size, mode="bilinear", align_corners=False)

    def forward(self, x: Tensor) -> Tensor:
        # In float32: bfloat16 rounds depth to 0.4 %, and its gradients coarsely.
        logarithm = self.enlarge(self.log_depth(x).float())
        return torch.exp(torch.clamp(logarithm, math.log(0.01), math.log(100.0)))


def halved(size: tuple[int, int], times: int = 1) -> tuple[int, int]:
    """The size after `times` convolutions of stride 2 with padding kernel // 2."""
    height, width = size
    for _ in range(times):
        height, width = (height + 1) // 2, (width + 1) // 2
    return height, width


def initialise(module: nn.Module) -> None:
    """Initialise with He-normal convolutions, weak residual branches and heads that output about `TYPICAL_DEPTH`."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    for layer in module.modules():
        if isinstance(layer, BasicBlock) or (isinstance(layer, InvertedResidual) and layer.residual):
            nn.init.constant_(layer.body[-1][1].weight, _RESIDUAL_GAIN)  # type: ignore[index]
        if isinstance(layer, LogDepthHead):
            nn.init.normal_(layer.log_depth.weight, std=0.01)
            bias = layer.log_depth.bias
            assert bias is not None
            nn.init.constant_(bias, math.log(TYPICAL_DEPTH))
