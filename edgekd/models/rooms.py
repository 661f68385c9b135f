"""The built-in teacher's architecture. Its weights are trained by examples/ and ship with the package."""

from __future__ import annotations

from torch import Tensor, nn

from edgekd.models.blocks import BasicBlock, ConvBN, LogDepthHead, Merge, halved, initialise
from targets.input import Framing, InputSpec

__all__ = ["ROOMS_INPUT", "RoomsNet"]

ROOMS_INPUT = InputSpec(Framing(192, 256), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class RoomsNet(nn.Module):
    """ResNet-like encoder of four stages, additive skips, 3x3 decoder, log-depth head at half resolution.

    Takes normalised float32 RGB [N, 3, H, W] at the resolution of `input`; gives metres [N, 1, H, W].
    """

    def __init__(self, input: InputSpec = ROOMS_INPUT) -> None:  # noqa: A002 - the field's own name
        super().__init__()
        self.input = input
        size = (input.height, input.width)
        widths, depths, decoder = (16, 32, 56, 96, 160), (1, 2, 2, 1), (96, 56, 32, 16)
        self.stem = ConvBN(3, widths[0], 3, stride=2)
        self.stages = nn.ModuleList()
        for inputs, outputs, blocks in zip(widths, widths[1:], depths, strict=False):
            self.stages.append(
                nn.Sequential(ConvBN(inputs, outputs, 3, stride=2), *(BasicBlock(outputs) for _ in range(blocks)))
            )
        self.merges = nn.ModuleList()
        deep = widths[-1]
        for index, outputs in enumerate(decoder):
            at = halved(size, len(decoder) - index)
            self.merges.append(Merge(deep, widths[-2 - index], outputs, at, ConvBN(outputs, outputs, 3)))
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
