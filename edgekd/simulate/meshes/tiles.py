"""Turns a picture on a mesh into one tile in the form of the atlas: weights of three colours and a shade.

Red, green and blue of a texel are its shares a, b and 1 - a - b of its brightness, so that the shader that mixes three
colours by weights (textures.py) shows any picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd.pictures.reading import upper_bits
from edgekd.pictures.srgb import to_linear
from edgekd.simulate.atlas import LEVELS, SIDE
from edgekd.simulate.material import Colour
from edgekd.simulate.shapes import Floats

__all__ = ["BASIS", "Tile", "bake"]

_BRIGHTEST = 1.5  # a shade of 2 (the most that a texel holds) times this is red + green + blue of white
BASIS: tuple[Colour, Colour, Colour] = ((0.0, 0.0, _BRIGHTEST), (_BRIGHTEST, 0.0, 0.0), (0.0, _BRIGHTEST, 0.0))
"""The colours that a material with a tile has."""


@dataclass(frozen=True, eq=False)
class Tile:
    """Texels uint8 [N, 3] of a, b and shade / 2, all mip levels in the atlas's order, and their means."""

    texels: NDArray[np.uint8]
    mean: Floats


def bake(picture: Image.Image, factor: Colour) -> Tile:
    """A tile of a picture in sRGB times a linear factor. It is squeezed into a square: coordinates run from 0 to 1.

    Raises ValueError for 32-bit grey that is not clearly 16-bit.
    """
    if picture.mode.startswith("I"):
        picture = Image.fromarray(upper_bits(picture, picture.format))
    square = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    stored = np.asarray(square, np.float32) / 255
    linear = to_linear(stored) * np.array(factor)
    levels = []
    for _ in range(LEVELS):
        levels.append(np.round(_weights(linear).reshape(-1, 3) * [255, 255, 127.5]).astype(np.uint8))
        linear = (linear[::2, ::2] + linear[1::2, ::2] + linear[::2, 1::2] + linear[1::2, 1::2]) / 4
    return Tile(np.concatenate(levels), _weights(linear).mean(axis=(0, 1)).astype(np.float32))


def _weights(linear: Floats) -> Floats:
    """a, b and shade [H, W, 3] of linear RGB in 0..1."""
    total = np.maximum(linear.sum(axis=-1), 1e-6)
    return np.stack([linear[..., 0] / total, linear[..., 1] / total, total / _BRIGHTEST], axis=-1)
