"""The students: small encoder-decoders to be trained from scratch, quantised and compiled.

To add one, write a function from InputSpec to a module and give it a line in `STUDENTS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from calibration.errors import UnknownNameError
from edgekd.models.blocks import ConvBN, InvertedResidual, LogDepthHead, Merge, Separable, halved, initialise
from targets.input import InputSpec

__all__ = ["DEFAULT_STUDENT", "STUDENTS", "MobileDepth", "Widths", "build_student"]


@dataclass(frozen=True)
class Widths:
    """How wide and deep a MobileDepth is. Stage i works at 1/2^(i+2) of the input's resolution."""

    stem: int
    stages: tuple[tuple[int, int], ...]  # (channels, blocks)
    decoder: tuple[int, ...]  # channels, deepest first, one for each stage but the last and one for the stem
    expand: int = 4


class MobileDepth(nn.Module):
    """MobileNetV2-like encoder, additive skips, depthwise separable decoder, log-depth head at half resolution.

    Takes normalised float32 RGB [N, 3, H, W] at the resolution of `input`; gives metres [N, 1, H, W].
    """

    def __init__(self, input: InputSpec, widths: Widths) -> None:  # noqa: A002 - the field's own name
        super().__init__()
        size = (input.height, input.width)
        self.stem = ConvBN(3, widths.stem, 3, stride=2)
        self.stages = nn.ModuleList()
        channels = [widths.stem]
        for outputs, blocks in widths.stages:
            stage = nn.Sequential(InvertedResidual(channels[-1], outputs, stride=2, expand=widths.expand))
            for _ in range(blocks - 1):
                stage.append(InvertedResidual(outputs, outputs, stride=1, expand=widths.expand))
            self.stages.append(stage)
            channels.append(outputs)
        self.merges = nn.ModuleList()
        deep = channels.pop()
        for outputs in widths.decoder:
            at = halved(size, len(channels))
            self.merges.append(Merge(deep, channels.pop(), outputs, at, Separable(outputs, outputs)))
            deep = outputs
        self.head = LogDepthHead(deep, size)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.stem(x)]
        for stage in self.stages:
            skips.append(stage(skips[-1]))
        deep = skips.pop()
        for merge in self.merges:
            deep = merge(deep, skips.pop())
        depth: Tensor = self.head(deep)
        return depth


def _small(input: InputSpec) -> nn.Module:  # noqa: A002
    return MobileDepth(input, Widths(16, ((16, 1), (24, 2), (48, 2), (80, 2)), (48, 32, 24, 16)))


def _medium(input: InputSpec) -> nn.Module:  # noqa: A002
    return MobileDepth(input, Widths(16, ((24, 2), (32, 2), (64, 3), (112, 3)), (64, 48, 32, 16)))


def _large(input: InputSpec) -> nn.Module:  # noqa: A002
    return MobileDepth(input, Widths(24, ((32, 2), (56, 3), (112, 4), (192, 4)), (128, 96, 64, 32), expand=5))


STUDENTS: dict[str, Callable[[InputSpec], nn.Module]] = {
    "mobile-s": _small,
    "mobile-m": _medium,
    "mobile-l": _large,
}
DEFAULT_STUDENT = "mobile-m"


def build_student(name: str, input: InputSpec, seed: int = 0) -> nn.Module:  # noqa: A002
    """An untrained student; the same name, input and seed give the same weights. Raises UnknownNameError."""
    if name not in STUDENTS:
        raise UnknownNameError("student", name, STUDENTS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return STUDENTS[name](input)
