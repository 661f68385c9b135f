"""What every data set provides: pictures with depth, by number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from targets.input import Framing

__all__ = ["DepthDataset", "DepthFrame", "frame_all"]


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


def frame_all(frames: Iterable[DepthFrame], framing: Framing) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Pictures uint8 [N, H, W, 3] and depth float32 [N, H, W] as a network sees them; depth is never interpolated."""
    framed = [(framing.image(frame.rgb), framing.nearest(frame.depth)) for frame in frames]
    return np.stack([picture for picture, _ in framed]), np.stack([depth for _, depth in framed])
