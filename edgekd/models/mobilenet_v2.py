"""MobileNet-V2 encoders (Sandler et al., CVPR 2018) and students built on them."""

from __future__ import annotations

from torch import Tensor, nn

from edgekd.models.decoder import EdgeDepth
from targets.input import InputSpec

__all__ = ["MobileNetV2Encoder", "mobilenet_v2_student"]

# Expansion, channels, blocks, stride of the first block; the seventh (320 channels) is left out, as in depth networks.
_SETTINGS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2))
_TAKEN = (1, 2, 4, 5)  # settings after which features are taken: 1/4, 1/8, 1/16 and 1/32


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inputs * expand
        self.residual = stride == 1 and inputs == outputs
        layers: list[nn.Module] = [] if expand == 1 else [_conv(inputs, wide, 1)]
        layers += [
            _conv(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2Encoder(nn.Module):
    """Normalised RGB [N, 3, H, W] to features at 1/4, 1/8, 1/16 and 1/32; names are torchvision's `features`[:17]."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        inputs = _divisible(32 * width)
        features: list[nn.Module] = [_conv(3, inputs, 3, 2)]
        channels, taken = [], []
        for index, (expand, outputs, blocks, stride) in enumerate(_SETTINGS):
            outputs = _divisible(outputs * width)
            for number in range(blocks):
                features.append(_InvertedResidual(inputs, outputs, stride if number == 0 else 1, expand))
                inputs = outputs
            if index in _TAKEN:
                channels.append(outputs)
                taken.append(len(features) - 1)
        self.features = nn.Sequential(*features)
        self.channels = tuple(channels)
        self._taken = frozenset(taken)

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._taken:
                outputs.append(x)
        return outputs


def mobilenet_v2_student(input: InputSpec, width: float) -> nn.Module:  # noqa: A002 - the field's own name
    """A MobileNet-V2 encoder with this width multiplier, and the lightweight decoder."""
    encoder = MobileNetV2Encoder(width)
    return EdgeDepth(input, encoder, encoder.channels, (96, 56, 32))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


def _divisible(channels: float) -> int:
    """The nearest multiple of 8 that is at most a tenth too small, as the authors round."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
