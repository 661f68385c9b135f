"""One shard of a set: an uncompressed tar in the WebDataset layout, the same bytes for the same pictures.

Picture k is k.jpg (RGB), k.ids.png (uint8 or uint16) and, where depth is kept, k.depth.png (uint16, millimetres).
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calibration.errors import FileError
from calibration.files import replacing
from edgekd.simulate.sample import SimulatedImage

__all__ = ["Entry", "index_shard", "read_image", "write_shard"]

_QUALITY = 95
_BLOCK = 512
Entry = dict[str, tuple[int, int]]
"""A picture's members by suffix ("jpg", "ids.png", "depth.png"): offset and length in the shard."""


def write_shard(path: Path, images: Iterable[tuple[int, SimulatedImage]], *, keep_depth: bool) -> None:
    """Write the numbered pictures to `path`, whole or not at all."""
    with replacing(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
        for number, image in images:
            for suffix, data in _encode(image, keep_depth=keep_depth):
                # No owner and no time: the bytes depend on the pictures alone.
                member = tarfile.TarInfo(f"{number:06d}.{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def _encode(image: SimulatedImage, *, keep_depth: bool) -> Iterable[tuple[str, bytes]]:
    buffer = io.BytesIO()
    Image.fromarray(image.rgb).save(buffer, "JPEG", quality=_QUALITY)
    yield "jpg", buffer.getvalue()
    yield "ids.png", _png(image.ids.astype(np.uint8) if image.ids.max() < 256 else image.ids)
    if keep_depth and image.depth is not None:
        yield "depth.png", _png(np.clip(np.round(image.depth * 1000), 0, 65535).astype(np.uint16))


def _png(plane: NDArray[np.unsignedinteger[Any]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(plane).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def index_shard(data: bytes, path: Path) -> dict[int, Entry]:
    """Where each picture lies in a shard's bytes. Raises FileError naming `path` when it is not such a shard."""
    entries: dict[int, Entry] = {}
    place = 0
    try:
        while place + _BLOCK <= len(data) and data[place]:
            name = data[place : place + 100].split(b"\0", 1)[0].decode()
            length = int(data[place + 124 : place + 136].rstrip(b"\0 "), 8)
            if not 0 <= length <= len(data) - place - _BLOCK:
                raise ValueError(f"{name} would have {length} bytes")
            number, suffix = name.split(".", 1)
            entries.setdefault(int(number), {})[suffix] = (place + _BLOCK, length)
            place += _BLOCK + -(-length // _BLOCK) * _BLOCK
    except (ValueError, UnicodeDecodeError) as error:
        raise FileError(f"{path} is not a shard of simulated images ({error})", fix="Simulate the set again") from error
    return entries


def _opened(data: bytes, suffix: str) -> Any:
    """A member as a picture. Raises ValueError when it is not of the kind that its name says."""
    picture = Image.open(io.BytesIO(data), formats=("JPEG",) if suffix == "jpg" else ("PNG",))
    if (suffix == "jpg") != (picture.mode == "RGB"):
        raise ValueError(f"{suffix} has mode {picture.mode}")
    return picture


def read_image(path: Path, entry: Entry) -> SimulatedImage:
    """Read one picture. Raises FileError naming the shard when it cannot be read."""
    try:
        planes = {}
        with open(path, "rb", buffering=0) as stream:
            for suffix, (offset, length) in entry.items():
                stream.seek(offset)
                planes[suffix] = np.array(_opened(stream.read(length), suffix))
        depth = planes.get("depth.png")
        return SimulatedImage(
            rgb=planes["jpg"],
            ids=planes["ids.png"].astype(np.uint16),
            depth=None if depth is None else depth.astype(np.float32) / np.float32(1000),
        )
    except Exception as error:  # damaged files fail anywhere in Pillow's readers, with errors of any type
        raise FileError(f"A picture in {path} cannot be read ({error})", fix="Simulate the set again") from error
