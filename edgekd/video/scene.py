"""One frame for display: a line of text, the picture, its depth in colour on a fixed scale, and the scale bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from edgekd.pictures.colour import DEFAULT_COLOURS, colour_depth, scale_bar

__all__ = ["SideBySide"]

_SHOWN_HEIGHT = 480
_LINE = 22


@dataclass(frozen=True)
class SideBySide:
    """Draws frames of one video. One range in metres holds for all of them: otherwise the colours would flicker."""

    low: float
    high: float
    colours: str = DEFAULT_COLOURS

    def draw(self, rgb: NDArray[np.uint8], depth: NDArray[Any], caption: str) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] of a picture uint8 [h, w, 3], its depth [h, w] in metres, and one line of text above."""
        scale = min(1.0, _SHOWN_HEIGHT / rgb.shape[0])
        size = max(2, round(rgb.shape[1] * scale)), max(2, round(rgb.shape[0] * scale))
        picture = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR))
        # Depth is never blended across an edge: nearest.
        small = np.asarray(Image.fromarray(depth.astype(np.float32)).resize(size, Image.Resampling.NEAREST))
        coloured = colour_depth(small, self.low, self.high, self.colours)
        bar = scale_bar(self.low, self.high, max(size[1], 16), self.colours)[: size[1]]
        body = np.concatenate([picture, coloured, bar], axis=1)
        line = Image.new("RGB", (body.shape[1], _LINE), (250, 250, 250))
        font = ImageFont.load_default(14)
        ImageDraw.Draw(line).text((6, _LINE / 2), caption, fill=(30, 30, 30), font=font, anchor="lm")
        return np.concatenate([np.asarray(line), body])
