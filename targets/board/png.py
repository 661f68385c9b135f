"""Reading and writing PNG with nothing but numpy, so that a board needs no imaging library."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any, Iterator

import numpy as np

from targets.board.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GROUND", "UnusualError", "decode_png", "encode_png"]

GROUND = 128
"""The grey under transparent pixels, as where edgekd itself reads pictures."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 0x0112  # EXIF tag
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by colour type: grey, RGB, grey with alpha, RGB with alpha
_MOST_PIXELS = 150000000
_SAVE_OTHERWISE = "Save it as 8-bit RGB without interlacing, or install Pillow: pip install pillow"


class UnusualError(InputError):
    """A PNG that libraries read but this module does not: palette, not 8 bits, interlaced, or with an EXIF rotation."""


def encode_png(image: NDArray[Any]) -> bytes:
    """A picture uint8 [H, W, 3], or grey values uint16 [H, W], as PNG."""
    grey = image.ndim == 2
    samples = np.ascontiguousarray(image, ">u2" if grey else np.uint8)
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1).view(np.uint8)
    filtered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 16 if grey else 8, 0 if grey else 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 6)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts)


def decode_png(data: bytes, name: str) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3] of an 8-bit PNG, transparent pixels over grey.

    Raises InputError naming a damaged file, UnusualError for other kinds.
    """
    try:
        chunks = list(_chunks(data))
        width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
        if not 0 < width * height <= _MOST_PIXELS:
            raise ValueError(f"it declares {width}x{height}")
        if depth != 8 or colour not in _CHANNELS or interlaced:
            raise UnusualError(f"{name} is a PNG of an unsupported kind", _SAVE_OTHERWISE)
        if any(kind == b"eXIf" and _orientation(content) != 1 for kind, content in chunks):
            raise UnusualError(f"{name} is a PNG with an EXIF rotation", _SAVE_OTHERWISE)
        channels = _CHANNELS[colour]
        size = height * (1 + width * channels)
        # No more than expected: three megabytes can expand to three thousand.
        raw = zlib.decompressobj().decompress(b"".join(c for kind, c in chunks if kind == b"IDAT"), size + 1)
        lines = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * channels)
        pixels = _unfilter(lines, channels).reshape(height, width, channels)
    except (ValueError, IndexError, struct.error, zlib.error) as error:
        raise InputError(f"{name} is truncated or damaged ({error})", "Restore it") from error
    rgb = np.repeat(pixels[..., :1], 3, axis=2) if channels < 3 else pixels[..., :3]
    if channels in (2, 4):
        rgb = _over_grey(rgb, pixels[..., -1:])
    for key in (content for kind, content in chunks if kind == b"tRNS" and len(content) == 2 * channels):
        seen = (pixels != np.frombuffer(key, ">u2")).any(axis=2, keepdims=True)
        rgb = _over_grey(rgb, seen * np.uint8(255))
    return np.ascontiguousarray(rgb)


def _over_grey(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if alpha.min() == 255:
        return rgb
    opaque = alpha.astype(np.uint16)  # which holds 255 * 255 + 127
    over: NDArray[np.uint8] = ((rgb * opaque + GROUND * (255 - opaque) + 127) // 255).astype(np.uint8)
    return over


def _orientation(exif: bytes) -> int:
    """The EXIF orientation: 1, shown as stored, also where it cannot be read."""
    order = "<" if exif[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(order + "HHIH", exif, place)
            if tag == _ORIENTATION:
                return int(value)
    except struct.error:
        pass
    return 1


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not data.startswith(_SIGNATURE):
        raise ValueError("not a PNG")
    place, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        (check,) = struct.unpack(">I", data[place + 8 + length : place + 12 + length])
        if check != zlib.crc32(kind + content):
            raise ValueError("checksum mismatch")
        yield kind, content
        place += 12 + length


def _unfilter(lines: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Undo the five filters of PNG, row by row; `step` is the bytes of a pixel."""
    done = np.zeros((lines.shape[0] + 1, lines.shape[1] - 1 + step), np.uint8)  # with a border of zeros
    for number, line in enumerate(lines):
        kind, row, above = int(line[0]), done[number + 1], done[number]
        if kind in (0, 2):  # none, up: whole rows at once
            row[step:] = line[1:] + above[step:] if kind else line[1:]
        elif kind == 1:  # left: a running sum of each channel, modulo 256
            row[step:] = np.cumsum(line[1:].reshape(-1, step), axis=0, dtype=np.uint8).reshape(-1)
        elif kind in (3, 4):
            _unfilter_slowly(kind, line[1:].tolist(), row, above.tolist(), step)
        else:
            raise ValueError(f"filter {kind}")
    return done[1:, step:]


def _unfilter_slowly(kind: int, line: list[int], row: NDArray[np.uint8], above: list[int], step: int) -> None:
    values = [0] * step
    for place, value in enumerate(line):
        left, up, corner = values[place], above[place + step], above[place]
        if kind == 3:
            guess = (left + up) // 2
        else:  # Paeth: the neighbour nearest to left + up - corner
            to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
            guess = left if to_left <= to_up and to_left <= to_corner else up if to_up <= to_corner else corner
        values.append((value + guess) & 255)
    row[:] = values
