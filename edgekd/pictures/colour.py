"""Depth in colour: near is warm and light, far is cool and dark, on a logarithmic scale.

The colour table is computed in Oklab (B. Ottosson, "A perceptual color space for image processing", 2020): lightness
falls evenly from near to far, so the picture reads the same in grey and for colour-blind eyes, while the hue turns from
yellow over red and purple to blue. The scale is logarithmic because depth errors are judged relative to depth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from calibration.errors import DataError, UnknownNameError
from edgekd.pictures.srgb import from_linear

__all__ = ["COLOURS", "DEFAULT_COLOURS", "NO_DEPTH", "colour_depth", "depth_range", "scale_bar"]

NO_DEPTH = (96, 96, 96)
"""Colour of pixels without depth: a grey that the table does not hold; the grey map uses a dark red."""

_STEPS = 256
_EMPTY_RANGE = (0.5, 10.0)  # shown when no pixel has depth
_TO_LMS = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_TO_LINEAR_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@dataclass(frozen=True)
class _Path:
    """A path through Oklab from near to far: lightness, hue in degrees, and the most chroma."""

    lightness: tuple[float, float]
    hue: tuple[float, float]
    chroma: float
    no_depth: tuple[int, int, int] = NO_DEPTH


COLOURS = {
    "warm": _Path((0.93, 0.25), (98, -102), 0.17),  # yellow, red, purple, blue
    "sea": _Path((0.95, 0.25), (130, 265), 0.14),  # light green, turquoise, deep blue
    "grey": _Path((0.97, 0.15), (0, 0), 0.0, no_depth=(110, 40, 40)),
}
"""Colour maps: near is light, far is dark. To add one, add a line here."""

DEFAULT_COLOURS = "warm"


def colour_depth(depth: NDArray[Any], low: float, high: float, colours: str = DEFAULT_COLOURS) -> NDArray[np.uint8]:
    """Depth [H, W] in metres as colours uint8 [H, W, 3].

    `low` metres and nearer is the first colour of the map, `high` metres and farther the last. Pixels without depth
    (zero, negative, NaN, infinite) are grey. Raises DataError unless 0 < low < high, UnknownNameError.
    """
    _require_range(low, high)
    depth = np.asarray(depth, np.float64)
    seen = np.isfinite(depth) & (depth > 0)
    place = np.log(np.where(seen, depth, low) / low) / np.log(high / low)
    picture: NDArray[np.uint8] = _table(colours)[(place.clip(0, 1) * (_STEPS - 1)).round().astype(np.intp)]
    picture[~seen] = COLOURS[colours].no_depth
    return picture


def depth_range(depths: Iterable[NDArray[Any]]) -> tuple[float, float]:
    """(low, high) in metres that shows all the depths well: their 1st and 99th percentile, widened to a factor of 1.5.

    Pixels without depth do not count; with none at all the range is 0.5-10 m.
    """
    found = [plane[np.isfinite(plane) & (plane > 0)].ravel() for plane in map(np.asarray, depths)]
    values = np.concatenate(found).astype(np.float64) if found else np.empty(0)
    if values.size == 0:
        return _EMPTY_RANGE
    low, high = np.percentile(values, (1, 99)).tolist()
    if high < 1.5 * low:
        middle = (low * high) ** 0.5
        low, high = middle / 1.5**0.5, middle * 1.5**0.5
    return float(low), float(high)


def scale_bar(low: float, high: float, height: int, colours: str = DEFAULT_COLOURS) -> NDArray[np.uint8]:
    """A vertical bar of the colours, far at the top, with metre labels: uint8 [height, 64, 3] on a light ground.

    Raises DataError for an impossible range or less than 16 pixels of height.
    """
    _require_range(low, high)
    width, bar, margin = 64, 14, 7  # the margin is half a label's height
    inner = height - 2 * margin
    if inner < 2:
        raise DataError(f"A scale bar {height} pixels high has no room for labels", fix="Use at least 16")
    canvas = np.full((height, width, 3), 250, np.uint8)
    depths = low * (high / low) ** np.linspace(1, 0, inner)
    canvas[margin : margin + inner, :bar] = colour_depth(depths[:, None], low, high, colours)
    picture = Image.fromarray(canvas)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    taken: list[float] = []
    for value in _ticks(low, high):
        y = margin + (1 - np.log(value / low) / np.log(high / low)) * (inner - 1)
        if any(abs(y - other) < 13 for other in taken):
            continue
        taken.append(y)
        draw.line([(bar, y), (bar + 3, y)], fill=(60, 60, 60))
        draw.text((bar + 6, y), f"{value:.3g} m", fill=(30, 30, 30), font=font, anchor="lm")
    return np.asarray(picture)


def _ticks(low: float, high: float) -> list[float]:
    """The two ends, then round numbers in between."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    rounds = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5, 3, 1.5, 7)]
    return [low, high, *(value for value in sorted(rounds) if low < value < high)]


@cache
def _table(colours: str) -> NDArray[np.uint8]:
    """uint8 [256, 3], near to far. Chroma is the largest up to the map's own that stays inside sRGB."""
    if colours not in COLOURS:
        raise UnknownNameError("colour map", colours, COLOURS)
    path = COLOURS[colours]
    lightness, hue = np.linspace(*path.lightness, _STEPS), np.radians(np.linspace(*path.hue, _STEPS))
    table = np.zeros((_STEPS, 3))
    done = np.zeros(_STEPS, bool)
    for chroma in np.linspace(path.chroma, 0, 171):
        lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
        linear = (lab @ _TO_LMS.T) ** 3 @ _TO_LINEAR_RGB.T
        fits = ((linear >= 0) & (linear <= 1)).all(axis=1) & ~done
        table[fits] = linear[fits]
        done |= fits
    found: NDArray[np.uint8] = (from_linear(table) * 255).round().astype(np.uint8)
    return found


def _require_range(low: float, high: float) -> None:
    if not 0 < low < high < float("inf"):
        raise DataError(
            f"A depth range of {low} to {high} m cannot be shown in colour", fix="Use 0 < low < high, in metres"
        )
