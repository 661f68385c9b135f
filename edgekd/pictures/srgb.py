"""Between linear light and sRGB (IEC 61966-2-1), both from 0 to 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["from_linear", "to_linear"]


def from_linear(light: NDArray[Any]) -> NDArray[Any]:
    """sRGB of linear light, of the same shape and type."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def to_linear(stored: NDArray[Any]) -> NDArray[Any]:
    """The inverse of `from_linear`."""
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
