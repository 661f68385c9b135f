"""What every data set gives: pictures with depth, by number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["DepthDataset", "DepthFrame"]


@dataclass(frozen=True)
class DepthFrame:
    """A picture and its depth, of one size."""

    rgb: NDArray[np.uint8]  # [H, W, 3]
    depth: NDArray[np.float32]  # [H, W], metres along the optical axis; 0 where there is none
    scene: str
    name: str


class DepthDataset(Protocol):
    """Frames with depth. `name` and `note` are for people, `digest` is over everything that is read."""

    @property
    def name(self) -> str: ...

    @property
    def note(self) -> str:
        """One line: which split, what was assumed."""
        ...

    @property
    def digest(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> DepthFrame: ...
