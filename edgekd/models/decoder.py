"""The lightweight decoder that edge students share: additive skips up to 1/4, a global context, log depth."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from edgekd.models.blocks import Context, ConvBN, LogDepthHead, Merge, Separable, halved, initialise
from targets.input import InputSpec

__all__ = ["EdgeDepth"]


class EdgeDepth(nn.Module):
    """An encoder with features at 1/4, 1/8, ... of the input's resolution, and the decoder of `mobile`.

    Takes normalised float32 RGB [N, 3, H, W] at the resolution of `input`; gives metres [N, 1, H, W].
    """

    def __init__(
        self,
        input: InputSpec,  # noqa: A002 - the field's own name
        encoder: nn.Module,
        channels: Sequence[int],
        decoder: Sequence[int],
    ) -> None:
        super().__init__()
        size = (input.height, input.width)
        *skips, deep = channels
        self.encoder = encoder
        self.context = Context(deep)
        self.merges = nn.ModuleList()
        for index, outputs in enumerate(decoder):
            last = index == len(decoder) - 1
            refine = ConvBN(outputs, outputs, 3) if last else Separable(outputs, outputs, 5)
            at = halved(size, len(skips) - index + 1)
            self.merges.append(Merge(deep, skips[-1 - index], outputs, at, refine))
            deep = outputs
        self.head = LogDepthHead(deep, size)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        *skips, deep = self.encoder(x)
        deep = self.context(deep)
        for merge in self.merges:
            deep = merge(deep, skips.pop())
        depth: Tensor = self.head(deep)
        return depth
