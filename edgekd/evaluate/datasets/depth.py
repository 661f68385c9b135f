"""Reading depth files: 16-bit PNG and PGM in stated units, and NumPy arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.arrays import read_array
from calibration.errors import DataError, FileError
from edgekd.pictures.reading import open_picture

__all__ = ["DEPTH_SUFFIXES", "read_depth"]

DEPTH_SUFFIXES = (".png", ".pgm", ".npy")

_RESTORE = "Restore or remove the file"


def read_depth(path: Path, units_per_metre: float) -> NDArray[np.float32]:
    """Depth float32 [H, W] in metres; 0 where there is none (holes, NaN, infinities, negative values).

    Raises DataError naming the file when it is missing, empty, truncated, of 8 bits or of another format.
    """
    path = Path(path)
    readers = {".png": _read_png, ".pgm": _read_pgm, ".npy": _read_npy}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is not a readable depth file", fix=f"Save depth as one of {', '.join(DEPTH_SUFFIXES)}")
    if not path.is_file():
        raise DataError(f"Depth file {path} not found", fix="Check the path")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)", fix=_RESTORE)
    metres = reader(path).astype(np.float64) / units_per_metre
    with np.errstate(over="ignore"):
        depth = metres.astype(np.float32)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))


def _read_png(path: Path) -> NDArray[Any]:
    picture = open_picture(path)
    if not picture.mode.startswith("I"):
        raise DataError(
            f"{path} has mode {picture.mode}, not 16-bit grey: it is a picture of depth, not depth",
            fix="Save depth as 16-bit PNG",
        )
    return np.asarray(picture)


def _read_pgm(path: Path) -> NDArray[Any]:
    """Read a binary PGM of 16 bits; Pillow stretches the values to 65535 when the file's maximum is lower."""
    data = path.read_bytes()
    fields: list[bytes] = []
    place = 0
    while len(fields) < 4 and place < len(data):
        if data[place : place + 1].isspace():
            place += 1
        elif data[place : place + 1] == b"#":
            place = data.find(b"\n", place) + 1 or len(data)
        else:
            end = place
            while end < len(data) and not data[end : end + 1].isspace():
                end += 1
            fields.append(data[place:end])
            place = end
    if len(fields) < 4 or fields[0] != b"P5" or not all(field.isdigit() for field in fields[1:]):
        raise DataError(f"{path} is not a binary PGM (P5)", fix="Save depth as 16-bit PNG")
    width, height, maximum = (int(field) for field in fields[1:])
    if maximum < 256 or maximum > 65535:
        raise DataError(f"{path} has a maximum of {maximum}: depth needs 16 bits", fix="Save depth as 16-bit PNG")
    values = data[place + 1 :]
    if len(values) < 2 * width * height or width * height == 0:
        raise DataError(
            f"{path} is truncated: {len(values)} of {2 * width * height} bytes of depth ({width}x{height})",
            fix=_RESTORE,
        )
    return np.frombuffer(values, ">u2", width * height).reshape(height, width)


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        array = read_array(path, fix=_RESTORE)
    except FileError as error:
        raise DataError(error.message, fix=error.fix) from error
    while array.ndim > 2 and 1 in (array.shape[0], array.shape[-1]):  # batch or channel axes; a pixel stays [1, 1]
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.dtype.kind in "ui" and array.dtype.itemsize == 1:
        raise DataError(
            f"{path} holds {array.dtype}: it is a picture of depth, not depth", fix="Save depth in metres, as float32"
        )
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "fui":
        raise DataError(f"{path} holds {array.dtype} {list(array.shape)}, not depth", fix="Save depth as [H, W]")
    return np.asarray(array)
