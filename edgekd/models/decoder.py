"""The lightweight decoder that edge students share: additive skips up to 1/4, a global context, log depth."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from edgekd.models.blocks import Context, ConvBN, LogDepthHead, Merge, Separable, halved, initialise
from targets.input import InputSpec

__all__ = ["EdgeDecoder", "EdgeDepth"]


class EdgeDecoder(nn.Module):
    """The decoder, for a network that makes its encoder before it calls `add_decoder`.

    Takes normalised float32 RGB [N, 3, H, W] at the resolution of `input`; gives metres [N, 1, H, W].
    """

    def add_decoder(self, input: InputSpec, channels: Sequence[int], decoder: Sequence[int]) -> None:  # noqa: A002
        """`channels` are those of the features at 1/4, 1/8, ...; `decoder` those on the way back, deepest first."""
        size = (input.height, input.width)
        *skips, deep = channels
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

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Metres of the encoder's features, finest first."""
        *skips, deep = features
        deep = self.context(deep)
        for merge in self.merges:
            deep = merge(deep, skips.pop())
        depth: Tensor = self.head(deep)
        return depth


class EdgeDepth(EdgeDecoder):
    """An encoder with features at 1/4, 1/8, ... of the input's resolution, and the decoder."""

    def __init__(
        self,
        input: InputSpec,  # noqa: A002 - the field's own name
        encoder: nn.Module,
        channels: Sequence[int],
        decoder: Sequence[int],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.add_decoder(input, channels, decoder)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encoder(x))
