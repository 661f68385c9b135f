"""Reading a person's pictures: whatever the file holds becomes uint8 RGB, or one error that names the file."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from calibration.errors import DataError
from calibration.progress import Progress

__all__ = [
    "FORMATS",
    "PICTURE_SUFFIXES",
    "is_on_its_side",
    "is_turned",
    "list_pictures",
    "open_header",
    "open_picture",
    "read_picture",
    "remark_on_folders",
    "upper_bits",
]

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The formats that Pillow may read, whatever a file's name: other readers start programs or are little used."""

_ORIENTATION = 0x0112  # of EXIF
_GROUND = (128, 128, 128)  # under transparent pixels: the least contrast with anything
_RESTORE = "Restore or remove the file"


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture as uint8 RGB [H, W, 3].

    It is turned as its EXIF orientation says; grey becomes three equal channels; 16 bits become the upper 8;
    transparent pixels are laid over mid-grey; only the first of several frames is read.
    Raises DataError naming the file when it is missing, empty, truncated, no picture, floating point, too large or of
    32 bits that are not clearly 16.
    """
    path = Path(path)
    picture = open_picture(path)
    stored = picture.format
    if picture.mode == "F":
        raise DataError(f"{path} holds floating-point values, not a picture", fix="Save it with 8 or 16 bits")
    with _damaged_metadata_ignored(), suppress(Exception):  # orientation that cannot be read: upright
        picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):
        try:
            return np.repeat(upper_bits(picture, stored)[..., None], 3, axis=2)
        except ValueError as error:
            raise DataError(f"{path} holds {error}", fix="Save it with 8 or 16 bits") from error
    if picture.has_transparency_data:
        ground = Image.new("RGBA", picture.size, (*_GROUND, 255))
        picture = Image.alpha_composite(ground, picture.convert("RGBA"))
    return np.asarray(picture.convert("RGB"))


def upper_bits(picture: Image.Image, stored: str | None) -> NDArray[np.uint8]:
    """16-bit grey as its upper 8 bits; Pillow would clip it at 255. `stored` is the format of its file.

    Raises ValueError for 32 bits whose values are not clearly 16: nothing says which of them is white.
    """
    grey = np.asarray(picture)
    low, high = int(grey.min(initial=0)), int(grey.max(initial=0))
    wide = picture.mode == "I" and stored == "TIFF"  # PGM's 16 bits have the same mode
    if low < 0 or high > 0xFFFF or (wide and 0 < high < 256):
        raise ValueError(f"values from {low} to {high} in 32 bits, with no defined white level")
    return (grey.astype(np.uint16) >> 8).astype(np.uint8)


def is_turned(path: Path) -> bool:
    """Whether an image file's EXIF orientation turns or mirrors it."""
    return _orientation(path) in range(2, 9)


def is_on_its_side(path: Path) -> bool:
    """Whether an image file's EXIF orientation swaps its rows and columns."""
    return _orientation(path) in range(5, 9)


def _orientation(path: Path) -> object:
    """The EXIF orientation, of whatever type the file has; 1 if it cannot be read."""
    with suppress(Exception), open_header(path) as picture:
        return picture.getexif().get(_ORIENTATION, 1)
    return 1


@contextmanager
def open_header(path: Path) -> Iterator[Image.Image]:
    """Open an image file without decoding it. Raises what Pillow raises, errors of any type."""
    with _damaged_metadata_ignored(), Image.open(path, formats=FORMATS) as picture:
        yield picture


def open_picture(path: Path) -> Image.Image:
    """Open and decode an image file as it is stored. Raises DataError naming the file, see `read_picture`."""
    if not path.is_file():
        raise DataError(f"Picture {path} not found", fix="Check the path")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)", fix=_RESTORE)
    try:
        with _damaged_metadata_ignored():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(path.read_bytes()), formats=FORMATS)
            picture.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} has more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels", fix="Scale it down, or remove it"
        ) from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not a readable picture", fix="Save it as PNG or JPEG") from error
    except Exception as error:  # damaged files fail anywhere in Pillow's readers, with errors of any type
        raise DataError(f"{path} is truncated or damaged ({error})", fix=_RESTORE) from error
    return picture


@contextmanager
def _damaged_metadata_ignored() -> Iterator[None]:
    """Silence Pillow's warnings about EXIF data that it cannot read: such a picture is taken as upright."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def list_pictures(folder: Path) -> list[Path]:
    """The pictures in `folder` by name, subfolders and hidden files left out. Raises DataError when there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder", fix="Check the path")
    found = sorted(filter(_is_picture, folder.iterdir()))
    if not found:
        raise DataError(
            f"No pictures in {folder} itself (looked for {', '.join(PICTURE_SUFFIXES)}, not in subfolders)",
            fix="Choose another folder",
        )
    return found


def remark_on_folders(folder: Path, progress: Progress) -> None:
    """Note that a folder has subfolders with pictures, which `list_pictures` leaves out."""
    with suppress(OSError):  # folders that may not be read
        for inner in sorted(Path(folder).iterdir()):
            if inner.is_dir() and not inner.name.startswith(".") and any(map(_is_picture, inner.iterdir())):
                progress.note(f"Pictures in subfolders of {folder}, such as {inner.name}, are skipped")
                return


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file()
