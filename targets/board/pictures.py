"""Reading pictures on a board: PNG always, anything else where Pillow or OpenCV is installed; and showing depth."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from targets.board.errors import BoardError, InputError, MissingError
from targets.board.files import write_bytes
from targets.board.opencv import import_opencv
from targets.board.png import GROUND, UnusualError, decode_png, encode_png

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["list_pictures", "name_results", "read_picture", "skipped_folders", "write_depth"]

_IMAGING = "pip install pillow, or use PNG"
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp", ".tif", ".tiff")
_COLOURS = ((0.94, 0.97, 0.13), (0.97, 0.58, 0.25), (0.80, 0.28, 0.47), (0.49, 0.01, 0.66), (0.05, 0.03, 0.53))


def list_pictures(paths: list[str]) -> list[Path]:
    """The pictures to use: files as they are, and those in folders, subfolders and hidden files left out.

    Raises InputError when there are none, or a path cannot be read.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        inside: list[Path] = []
        try:
            path.stat()
            if path.is_dir():
                inside = sorted(filter(_is_picture, path.iterdir()))
        except FileNotFoundError as error:
            raise InputError(f"{path} not found", "Check the path") from error
        except OSError as error:  # a folder that may not be read, or a name that is too long
            raise InputError(f"Cannot read {path} ({error.strerror})", "Check the path and its permissions") from error
        if path.is_dir() and not inside:
            raise InputError(f"No pictures found in {path} (subfolders are not searched)", "Choose another folder")
        found += inside or [path]
    return found


def skipped_folders(paths: list[str]) -> list[str]:
    """A line for each folder among `paths` with pictures in subfolders, which `list_pictures` leaves out."""
    found = []
    for folder in filter(Path.is_dir, map(Path, paths)):
        with suppress(OSError):  # folders that may not be read
            for inner in sorted(folder.iterdir()):
                if inner.is_dir() and not inner.name.startswith(".") and any(map(_is_picture, inner.iterdir())):
                    found.append(f"Pictures in subfolders of {folder}, such as {inner.name}, are skipped")
                    break
    return found


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and path.is_file()


def read_picture(path: Path) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3]. Raises InputError naming the file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror})", "Check the path") from error
    if not data:
        raise InputError(f"{path} is empty (0 bytes)", "Restore it")
    if _has_pillow():  # reads some PNGs twenty times as fast as numpy can
        return _read_with_pillow(path, data)
    if not data.startswith(b"\x89PNG"):
        return _read_with_opencv(path, data, MissingError(f"Reading {path} needs Pillow or OpenCV", _IMAGING))
    try:
        return decode_png(data, str(path))
    except UnusualError as error:
        return _read_with_opencv(path, data, error)


def name_results(pictures: list[Path]) -> list[str]:
    """The result name of each picture: its name without the extension, with it where two would collide,
    and numbered where they still do."""
    stems = Counter(picture.stem for picture in pictures)
    chosen: dict[str, None] = {}  # an ordered set
    for picture in pictures:
        name = free = picture.stem if stems[picture.stem] == 1 else picture.name
        number = 1
        while free in chosen:
            number += 1
            free = f"{name}.{number}"
        chosen[free] = None
    return list(chosen)


def write_depth(stem: Path, depth: NDArray[np.float32]) -> list[Path]:
    """Write depth [h, w] in metres as 16-bit millimetres and as colours, near to far from yellow to blue.

    Depths that do not fit 16 bits are written as 0, the value for missing depth.
    """
    with np.errstate(invalid="ignore"):
        rounded = np.floor(depth * 1000 + 0.5)
        millimetres = np.where((rounded > 0) & (rounded <= 65535), rounded, 0).astype(np.uint16)
    finite = depth[np.isfinite(depth)]
    near, far = np.percentile(finite, (1, 99)) if finite.size else (0.0, 1.0)
    shade = np.clip((np.nan_to_num(depth) - near) / max(float(far - near), 1e-6), 0, 1)
    stops = np.linspace(0, 1, len(_COLOURS))
    colours = np.stack([np.interp(shade, stops, channel) for channel in zip(*_COLOURS)], axis=-1)
    pictures: dict[str, NDArray[Any]] = {"depth": millimetres, "colour": (colours * 255).astype(np.uint8)}
    written = []
    for kind, picture in pictures.items():
        written.append(stem.with_name(f"{stem.name}.{kind}.png"))
        write_bytes(written[-1], encode_png(picture))
    return written


def _has_pillow() -> bool:
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        return False
    return True


def _read_with_pillow(path: Path, data: bytes) -> NDArray[np.uint8]:
    import io

    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(data)) as picture:
            if picture.mode == "F":
                raise ValueError("it holds floating-point values")
            return _upright(picture)
    except Exception as error:  # damaged files can fail anywhere in Pillow's readers, and it refuses huge ones
        said = "" if "BytesIO" in str(error) else f" ({error})"  # where it finds no picture, it names an object
        raise InputError(f"{path} is not a readable picture{said}", "Save it as PNG") from error


def _upright(picture: Any) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    with suppress(Exception):  # an orientation that cannot be read: upright; damaged pixels fail again below
        picture = ImageOps.exif_transpose(picture) or picture
    if not picture.mode.startswith("I"):
        if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
            ground = Image.new("RGBA", picture.size, (GROUND, GROUND, GROUND, 255))
            picture = Image.alpha_composite(ground, picture.convert("RGBA"))
        rgb: NDArray[np.uint8] = np.asarray(picture.convert("RGB"))
        return rgb
    # 16-bit grey, which Pillow would clip at 255.
    grey = np.clip(np.asarray(picture).astype(np.uint32) >> 8, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _read_with_opencv(path: Path, data: bytes, neither: BoardError) -> NDArray[np.uint8]:
    """Read with OpenCV, upright. Raises `neither` where it is not installed."""
    cv2 = import_opencv()
    if cv2 is None:
        raise neither from None
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise InputError(f"{path} is not a readable picture ({error})", "Save it as PNG") from error
    if bgr is None:
        raise InputError(f"{path} is not a readable picture", "Save it as PNG")
    rgb: NDArray[np.uint8] = np.ascontiguousarray(bgr[..., ::-1])
    return rgb
