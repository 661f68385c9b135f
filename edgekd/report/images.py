"""Pictures inside the page: JPEG as data, and how differences of depth are coloured."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekd.report.markup import Element, tag

__all__ = ["colour_difference", "embedded"]

_QUALITY = 82


def embedded(rgb: NDArray[np.uint8], about: str, *, widest: int = 480) -> Element:
    """An <img> of a picture uint8 [H, W, 3], scaled down where it is wider than `widest` pixels."""
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    if picture.width > widest:
        size = (widest, max(1, round(picture.height * widest / picture.width)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=_QUALITY, optimize=True)
    data = base64.b64encode(stream.getvalue()).decode()
    return tag(
        "img",
        src=f"data:image/jpeg;base64,{data}",
        alt=about,
        width=picture.width,
        height=picture.height,
        loading="lazy",
    )


def colour_difference(depth: NDArray[Any], reference: NDArray[Any], limit: float) -> NDArray[np.uint8]:
    """|depth - reference| / reference as colours uint8 [H, W, 3]: white for none, dark red for `limit` and more.

    Grey where the reference has no depth.
    """
    reference = np.asarray(reference, np.float64)
    seen = np.isfinite(reference) & (reference > 0.01) & np.isfinite(depth)
    off = np.abs(np.asarray(depth, np.float64) - reference) / np.where(seen, reference, 1)
    place = np.clip(np.where(seen, off, 0) / limit, 0, 1)[..., None]
    white, middle, dark = np.array([252, 252, 250]), np.array([226, 120, 70]), np.array([95, 10, 25])
    lower = white + (middle - white) * np.minimum(2 * place, 1)
    colours = np.where(place > 0.5, middle + (dark - middle) * (2 * place - 1), lower)
    picture: NDArray[np.uint8] = colours.round().astype(np.uint8)
    picture[~seen] = 96
    return picture
