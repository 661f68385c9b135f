"""Contact sheets, for a look at some pictures before trusting thousands of them."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError
from edgekd.pictures import colour_depth, depth_range
from edgekd.simulate.sample import SimulatedImage

__all__ = ["contact_sheet"]

_GAP = 6


def contact_sheet(images: Sequence[SimulatedImage], columns: int) -> NDArray[np.uint8]:
    """Picture, depth (if kept) and ids side by side, `columns` pictures a row: uint8 [H, W, 3].

    All pictures share one depth scale. Raises DataError without pictures or when their sizes differ.
    """
    if not images or columns < 1:
        raise DataError("A contact sheet needs pictures and columns", fix="Use at least one of each")
    if len({image.rgb.shape for image in images}) > 1:
        raise DataError("A contact sheet needs pictures of one size", fix="Render them with the same settings")
    depths = [image.depth for image in images if image.depth is not None]
    low, high = depth_range(depths)
    strips = [_strip(image, low, high) for image in images]
    height, width = max(s.shape[0] for s in strips), max(s.shape[1] for s in strips)
    columns = min(columns, len(strips))
    rows = -(-len(strips) // columns)
    sheet = np.full((rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), 24, np.uint8)
    for number, strip in enumerate(strips):
        top, left = (number // columns) * (height + _GAP) + _GAP, (number % columns) * (width + _GAP) + _GAP
        sheet[top : top + strip.shape[0], left : left + strip.shape[1]] = strip
    return sheet


def _strip(image: SimulatedImage, low: float, high: float) -> NDArray[np.uint8]:
    panes = [
        image.rgb,
        *([colour_depth(image.depth, low, high)] if image.depth is not None else []),
        _id_colours(image.ids),
    ]
    gap = np.full((image.rgb.shape[0], _GAP // 3, 3), 24, np.uint8)
    return np.concatenate([part for pane in panes for part in (pane, gap)][:-1], axis=1)


def _id_colours(ids: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """The room is dark grey; each id advances the hue by the golden angle, so neighbours differ."""
    table = [(60, 60, 66)]
    for number in range(1, int(ids.max()) + 1):
        red, green, blue = colorsys.hsv_to_rgb(
            number * 0.381966 % 1, 0.55 + 0.35 * (number % 2), 0.95 - 0.25 * (number % 3 == 0)
        )
        table.append((int(red * 255), int(green * 255), int(blue * 255)))
    colours: NDArray[np.uint8] = np.array(table, np.uint8)[ids]
    return colours
