"""A simulated image, and the protocol for sources of simulated images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["ImageSource", "SimulatedImage"]


@dataclass(frozen=True)
class SimulatedImage:
    """A rendered picture with what the renderer knows about it."""

    rgb: NDArray[np.uint8]  # [H, W, 3]
    ids: NDArray[np.uint16]  # [H, W]; 0 is the room itself (walls, floor, ceiling, openings), 1 and up are objects
    depth: NDArray[np.float32] | None = None  # [H, W], metres along the optical axis, 0 where unknown; None: not kept


class ImageSource(Protocol):
    """Simulated images by number; the same number gives the same image."""

    @property
    def digest(self) -> str:
        """A hash of everything that determines the images."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> SimulatedImage: ...
