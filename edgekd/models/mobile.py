"""The mobile family: small encoder-decoders made for this package, to train from scratch, quantise and compile."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from edgekd.models.blocks import BasicBlock, ConvBN, InvertedResidual
from edgekd.models.decoder import EdgeDecoder
from targets.input import InputSpec

__all__ = ["MobileDepth", "Widths", "mobile_l", "mobile_m", "mobile_s"]


@dataclass(frozen=True)
class Widths:
    """The width and depth of a MobileDepth; every stage halves the resolution, starting at 1/4 of the input's.

    Depthwise convolutions save arithmetic on small maps with many channels; on large maps they only cost memory
    traffic. So the early stages are plain 3x3 blocks and the late ones inverted residuals (README.md).
    """

    stem: int
    early: tuple[tuple[int, int], ...]  # (channels, residual blocks), plain 3x3 convolutions
    late: tuple[tuple[int, int], ...]  # (channels, blocks), inverted residuals
    decoder: tuple[int, ...]  # channels, deepest first, up to a quarter of the input's resolution


class MobileDepth(EdgeDecoder):
    """A stem and stages of plain blocks, then of inverted residuals, and the decoder."""

    def __init__(self, input: InputSpec, widths: Widths) -> None:  # noqa: A002 - the field's own name
        super().__init__()
        self.stem = ConvBN(3, widths.stem, 3, stride=2)
        self.stages = nn.ModuleList()
        channels = [widths.stem]
        for outputs, blocks in widths.early:
            entry = ConvBN(channels[-1], outputs, 3, stride=2)
            self.stages.append(nn.Sequential(entry, *(BasicBlock(outputs) for _ in range(blocks))))
            channels.append(outputs)
        for outputs, blocks in widths.late:
            narrow = InvertedResidual(channels[-1], outputs, stride=2, expand=_EXPAND)
            rest = (InvertedResidual(outputs, outputs, stride=1, expand=_EXPAND) for _ in range(blocks - 1))
            self.stages.append(nn.Sequential(narrow, *rest))
            channels.append(outputs)
        self.add_decoder(input, channels[1:], widths.decoder)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return self.decode(features)


_EXPAND = 4


def mobile_s(input: InputSpec) -> nn.Module:  # noqa: A002
    return MobileDepth(input, Widths(16, ((16, 1), (32, 1)), ((48, 2), (80, 3)), (48, 32, 24)))


def mobile_m(input: InputSpec) -> nn.Module:  # noqa: A002
    return MobileDepth(input, Widths(16, ((24, 1), (40, 1)), ((64, 3), (120, 3)), (64, 40, 24)))


def mobile_l(input: InputSpec) -> nn.Module:  # noqa: A002
    return MobileDepth(input, Widths(24, ((40, 2), (64, 2)), ((120, 4), (216, 4)), (120, 64, 40)))
