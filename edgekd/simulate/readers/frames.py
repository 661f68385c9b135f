"""What readers of other people's sets share: frames stored in files of their own, and what their planes mean."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError
from calibration.files import sha256_bytes
from calibration.progress import Progress
from calibration.wording import counted
from edgekd.simulate.sample import SimulatedImage

__all__ = ["Frame", "FrameSource", "check_numbers", "collect", "fitting", "instance_ids", "planar"]


class Frame(Protocol):
    """One picture and what belongs to it."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files it is read from, the picture first."""
        ...

    def read(self) -> SimulatedImage:
        """Raises DataError or FileError naming the file that cannot be used."""
        ...


@dataclass(frozen=True)
class FrameSource:
    """An ImageSource of frames that are read on request."""

    frames: tuple[Frame, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> SimulatedImage:
        if not -len(self) <= index < len(self):
            raise IndexError(f"Picture {index} of {len(self)}")
        return self.frames[index].read()


def collect(layout: str, root: Path, candidates: Iterable[Frame], progress: Progress, *, also: str = "") -> FrameSource:
    """The frames whose files all exist and are not empty; a note counts the others.

    The digest covers every file's name and size (and `also`), not its content: these sets have up to terabytes.
    Raises DataError naming a missing file when no frame is left.
    """
    frames: list[Frame] = []
    listed: list[tuple[str, int]] = []
    wanting: list[Path] = []
    for frame in candidates:
        sizes = [_size(path) for path in frame.files]
        if all(sizes):
            frames.append(frame)
            names = [Path(os.path.relpath(path, root)).as_posix() for path in frame.files]  # some lie beside it
            listed += zip(names, sizes, strict=True)
        else:
            wanting.append(frame.files[sizes.index(0)])
    if not frames:
        first = f": {wanting[0]} is missing or empty" if wanting else ""
        raise DataError(
            f"{root} holds no complete frame of {layout}{first}", fix="Extract its archives into this folder"
        )
    if wanting:
        total = len(frames) + len(wanting)
        progress.note(
            f"Skipped {len(wanting)} of {counted(total, 'frame')} with files missing or empty, first {wanting[0]}"
        )
    return FrameSource(tuple(frames), sha256_bytes(json.dumps([layout, also, listed]).encode()))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def instance_ids(plane: NDArray[Any], room: NDArray[np.bool_], path: Path) -> NDArray[np.uint16]:
    """Ids [H, W] of any integer type as uint16, with 0 wherever `room` is true or the id is not positive.

    If any is beyond 65535, all are renumbered in order. Raises DataError for colours or fractions instead of ids.
    """
    if plane.ndim != 2 or not (np.issubdtype(plane.dtype, np.integer) or plane.dtype == bool):
        raise DataError(
            f"{path} holds {plane.dtype} {list(plane.shape)}, not integer ids",
            fix="Save it as a single-channel PNG, 8 or 16 bits",
        )
    ids = np.where(room | (plane <= 0), 0, plane)
    if ids.max(initial=0) > np.iinfo(np.uint16).max:
        numbers, ids = np.unique(ids, return_inverse=True)
        if len(numbers) > np.iinfo(np.uint16).max:
            raise DataError(f"{path} holds {len(numbers)} ids: it is not an instance mask", fix="Remove it")
        if numbers[0] > 0:
            ids = ids + 1
    return ids.reshape(plane.shape).astype(np.uint16)


def fitting(plane: NDArray[Any], path: Path, rgb: NDArray[np.uint8], picture: Path) -> NDArray[Any]:
    """`plane` unchanged. Raises DataError when it is not one number per pixel, or not of the picture's size."""
    check_numbers(plane, path)
    if plane.shape[:2] != rgb.shape[:2]:
        sizes = f"{plane.shape[1]}x{plane.shape[0]}", f"{rgb.shape[1]}x{rgb.shape[0]}"
        raise DataError(
            f"{path} ({sizes[0]}) differs in size from {picture} ({sizes[1]})", fix="Use the same size for both"
        )
    return plane


def check_numbers(plane: NDArray[Any], path: Path, *, colours: bool = False) -> None:
    """Raises DataError naming the file when `plane` is not one number per pixel, or three where it holds colours."""
    last = (3,) if colours else ()
    if plane.ndim != 2 + len(last) or plane.shape[2:] != last or plane.dtype.kind not in "biuf":
        wanted = "three numbers" if colours else "one number"
        raise DataError(
            f"{path} holds {plane.dtype} {list(plane.shape)}, not {wanted} per pixel",
            fix="Download the original file",
        )


def planar(distance: NDArray[Any], across: float, down: float) -> NDArray[np.float32]:
    """Depth along the optical axis [H, W] from the length of each pixel's ray; 0 where it met nothing.

    `across` and `down` are the tangents of half the field of view; the axis meets the middle of the picture.
    """
    height, width = distance.shape
    x = across * (2 * (np.arange(width) + 0.5) / width - 1)
    y = down * (2 * (np.arange(height) + 0.5) / height - 1)
    known = np.where(np.isfinite(distance), distance, 0)
    depth: NDArray[np.float32] = (known / np.sqrt(1 + x[None, :] ** 2 + y[:, None] ** 2)).astype(np.float32)
    return depth
