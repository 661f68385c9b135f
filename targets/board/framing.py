"""How a camera's picture becomes what the network was trained to see, with numpy alone.

The same resampling as Pillow's anti-aliased bilinear resize with a box, which edgekd itself uses: a triangle as wide as
the reduction, centred on each output pixel.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Mapping

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CAMERA_SIDES", "Framing", "resampling", "seen_box"]

CAMERA_SIDES = (16, 8192)
"""The least and the greatest width and height of a camera's frames that a bundle can be made for."""


class Framing:
    """What part of a picture the network sees, and at which size; as in the manifest."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.height, self.width = int(value["height"]), int(value["width"])
        self.resize_height, self.crop = value.get("resize_height"), value.get("crop")

    def box(self, height: int, width: int) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in the pixels of a picture of this size."""
        return seen_box((height, width), (self.height, self.width), self.resize_height, self.crop)

    def image(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Frame a picture uint8 [H, W, 3]; returns uint8 [height, width, 3]."""
        if self.crop is None and rgb.shape == (self.height, self.width, 3):
            return rgb
        left, top, right, bottom = self.box(rgb.shape[0], rgb.shape[1])
        narrow = _resample(rgb.swapaxes(0, 1), *resampling(rgb.shape[1], left, right, self.width)).swapaxes(0, 1)
        return np.ascontiguousarray(_resample(narrow, *resampling(rgb.shape[0], top, bottom, self.height)))


def seen_box(
    picture: tuple[int, int], wanted: tuple[int, int], resize_height: int | None, crop: tuple[int, int] | None
) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of what the network sees, in the picture's own pixels; sizes are (height, width).

    `crop` applies after resizing to `resize_height`; without it, the box is the largest centred one shaped as `wanted`.
    """
    height, width = picture
    if crop is None or resize_height is None:
        shape, scale = wanted, min(height / wanted[0], width / wanted[1])
    else:
        shape, scale = crop, height / resize_height
    # Rounding can turn 480 into 480.00000000000006, and Pillow rejects a box that reaches beyond the picture.
    seen_height, seen_width = min(shape[0] * scale, float(height)), min(shape[1] * scale, float(width))
    left, top = (width - seen_width) / 2, (height - seen_height) / 2
    return left, top, min(left + seen_width, float(width)), min(top + seen_height, float(height))


@lru_cache(maxsize=16)
def resampling(size: int, start: float, end: float, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """(places, weights), each [wanted, taps]: output n is the sum of weights[n] over the inputs at places[n]."""
    scale = (end - start) / wanted
    reach = max(scale, 1.0)
    centres = start + (np.arange(wanted) + 0.5) * scale
    first = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + reach + 0.5).astype(np.int64), size)
    places = first[:, None] + np.arange(int((last - first).max()))
    weights = np.maximum(0, 1 - np.abs((places + 0.5 - centres[:, None]) / reach)) * (places < last[:, None])
    weights /= weights.sum(axis=1, keepdims=True)
    return np.minimum(places, size - 1).astype(np.intp), weights.astype(np.float32)


def _resample(rows: NDArray[np.uint8], places: NDArray[np.intp], weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Resample along the first axis; rounds to 8 bits, as Pillow does after each axis."""
    total = np.zeros((len(places), *rows.shape[1:]), np.float32)
    for tap in range(places.shape[1]):
        total += rows[places[:, tap]] * weights[:, tap, None, None]
    return np.clip(total + 0.5, 0, 255).astype(np.uint8)
