"""Saving pictures and depth: each file whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from calibration.errors import DataError, UsageError
from calibration.files import replacing

__all__ = ["save_depth", "save_png"]

_FARTHEST = 65535  # millimetres


def save_png(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Save a picture uint8 [H, W, 3] as PNG. Raises DataError for another shape, FileError or DiskFullError."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise DataError(
            f"A picture of {rgb.dtype} {list(rgb.shape)} cannot be saved as {path}", fix="Pass uint8 [H, W, 3]"
        )
    with replacing(Path(path)) as temporary:
        Image.fromarray(np.ascontiguousarray(rgb)).save(temporary, format="PNG")


def save_depth(path: Path, depth: NDArray[Any]) -> None:
    """Save depth [H, W] in metres: `.png` as 16-bit millimetres, `.npy` as float32 metres, unchanged.

    In the PNG 0 means no depth (zero, negative, NaN, infinite, or beyond 65.535 m, which 16 bits do not hold), anything
    nearer than a millimetre is 1, and the text fields `Unit` and `Invalid` of the file say so.
    Raises UsageError for another suffix, DataError for another shape.
    """
    path = Path(path)
    if depth.ndim != 2 or depth.size == 0:
        raise DataError(f"Depth of shape {list(depth.shape)} cannot be saved as {path}", fix="Pass one plane [H, W]")
    if path.suffix.lower() == ".npy":
        with replacing(path) as temporary, open(temporary, "wb") as stream:
            np.save(stream, depth.astype(np.float32), allow_pickle=False)
        return
    if path.suffix.lower() != ".png":
        raise UsageError(f"Depth cannot be saved as {path.suffix or path.name!r}", fix="Choose .png or .npy")
    stored = np.round(1000 * np.asarray(depth, np.float64))
    seen = np.isfinite(stored) & (depth > 0) & (stored <= _FARTHEST)
    millimetres = np.where(seen, stored, 0).clip(seen, _FARTHEST).astype(np.uint16)
    about = PngInfo()
    about.add_text("Unit", "millimetre")
    about.add_text("Invalid", "0")
    with replacing(path) as temporary:
        Image.fromarray(millimetres).save(temporary, format="PNG", pnginfo=about)
