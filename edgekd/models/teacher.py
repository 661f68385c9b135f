"""The frozen network that is distilled from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from targets.input import InputSpec

__all__ = ["Teacher"]


@dataclass(frozen=True)
class Teacher:
    """A depth network in eval mode with all parameters frozen.

    `module` takes normalised float32 RGB [N, 3, H, W] and gives depth in metres [N, 1, H, W].
    """

    name: str
    module: nn.Module
    input: InputSpec
    digest: str  # sha256 that identifies its weights: of their file, or of the weights themselves
    source: str  # one line for people: where it came from, licence, what it was trained on
    metric: bool = True  # False: its depth has no known unit, and only ratios are meaningful
