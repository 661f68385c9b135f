"""Preview strips: rows of labelled panels on one shared colour scale, whose range is printed beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from calibration.errors import DataError
from edgekd.pictures.colour import DEFAULT_COLOURS, colour_depth, depth_range, scale_bar

__all__ = ["preview_strip", "strip"]

_GROUND = 250
_INK = (30, 30, 30)
_GAP = 4
_FONT = 13
_LINE = 18
_SHORTEST_BAR = 60


def strip(rows: Sequence[tuple[str, Sequence[NDArray[Any]]]], colours: str = DEFAULT_COLOURS) -> NDArray[np.uint8]:
    """Rows of (label, panels) as one picture uint8 [H, W, 3].

    A panel is a picture uint8 [h, w, 3], or depth [h, w] in metres: all depth is coloured on one range, shown by a
    scale bar at the right. Smaller panels are brought to the size of the largest by nearest neighbour, so that no
    depth is invented. Raises DataError for no panel or one of another shape.
    """
    panels = [panel for _, row in rows for panel in row]
    if not panels:
        raise DataError("A strip needs panels", fix="Pass at least one picture")
    for panel in panels:
        if not (panel.ndim == 2 or (panel.ndim == 3 and panel.shape[2] == 3 and panel.dtype == np.uint8)):
            raise DataError(
                f"A panel of {panel.dtype} {list(panel.shape)} cannot be shown",
                fix="Pass pictures uint8 [h, w, 3] or depth [h, w]",
            )
    depths = [panel for panel in panels if panel.ndim == 2]
    low, high = depth_range(depths)
    height, width = max(panel.shape[0] for panel in panels), max(panel.shape[1] for panel in panels)
    bands = [_band(label, _coloured(row, low, high, colours), height, width) for label, row in rows if row]
    sheet = _stack(bands)
    if depths:
        bar = scale_bar(low, high, max(len(sheet) - 2 * _LINE, _SHORTEST_BAR), colours)
        bar = np.pad(bar, ((_LINE, _LINE), (0, 0), (0, 0)), constant_values=_GROUND)
        sheet = np.pad(sheet, ((0, len(bar) - len(sheet)), (0, 0), (0, 0)), constant_values=_GROUND)
        sheet = _stack([np.concatenate([sheet, bar], axis=1), _text(_range_text(low, high, colours))])
    return sheet


def preview_strip(
    pictures: Mapping[str, NDArray[np.uint8]], depths: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.uint8]:
    """The strip of a distillation: a row for each name, the images of a batch side by side.

    `pictures` are uint8 [N, H, W, 3] by name and `depths` float32 [N, H, W] in metres by name.
    """
    rows: dict[str, NDArray[Any]] = {**pictures, **depths}
    return strip([(name, list(batch)) for name, batch in rows.items()])


def _range_text(low: float, high: float, colours: str) -> str:
    none = "dark red" if colours == "grey" else "grey"
    return f"depth {low:.2f} m (light) to {high:.2f} m (dark), one scale for all panels; {none}: no depth"


def _coloured(row: Sequence[NDArray[Any]], low: float, high: float, colours: str) -> list[NDArray[np.uint8]]:
    return [panel if panel.ndim == 3 else colour_depth(panel, low, high, colours) for panel in row]


def _band(label: str, row: Sequence[NDArray[np.uint8]], height: int, width: int) -> NDArray[np.uint8]:
    panes = [_resize(panel, height, width) for panel in row]
    gap = np.full((height, _GAP, 3), _GROUND, np.uint8)
    line = np.concatenate([part for pane in panes for part in (gap, pane)] + [gap], axis=1)
    return _stack([_text(label), line])


def _resize(panel: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    if panel.shape[:2] == (height, width):
        return panel
    return np.asarray(Image.fromarray(panel).resize((width, height), Image.Resampling.NEAREST))


def _text(text: str) -> NDArray[np.uint8]:
    """One line of text, as wide as it needs."""
    font = ImageFont.load_default(_FONT)
    width = math.ceil(font.getlength(text)) + 2 * _GAP
    picture = Image.new("RGB", (width, _LINE), (_GROUND,) * 3)
    ImageDraw.Draw(picture).text((_GAP, _LINE / 2), text, fill=_INK, font=font, anchor="lm")
    return np.asarray(picture)


def _stack(bands: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Bands under one another, each filled up at the right to the width of the widest."""
    width = max(band.shape[1] for band in bands)
    filled = [np.pad(b, ((0, 0), (0, width - b.shape[1]), (0, 0)), constant_values=_GROUND) for b in bands]
    return np.concatenate(filled)
