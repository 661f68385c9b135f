"""The calibration set: pictures at a network's resolution, in a folder that says where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.arrays import read_array
from calibration.coverage import check_images
from calibration.errors import DataError, FileError
from calibration.files import read_json, replacing_folder, sha256_bytes, sha256_file, write_json

__all__ = ["CalibrationSet"]

_IMAGES = "images.npy"
_DESCRIPTION = "calibration.json"
_HELD_OUT_EVERY = 8
_REBUILD = "Rebuild the set: `edgekd distill` or `edgekd calibrate`"


@dataclass(frozen=True)
class CalibrationSet:
    """Pictures uint8 RGB [count, height, width, 3] in `folder`; the pixels are read from disk on use."""

    folder: Path
    count: int
    height: int
    width: int
    sha256: str  # of images.npy
    origin: str  # what the pictures are, in one line for people
    made_from: Mapping[str, str]  # name to digest of everything the pictures came from

    @property
    def digest(self) -> str:
        """SHA-256 over the pixels' digest, the shape, the origin and what the set was made from."""
        return sha256_bytes(json.dumps(self._description(), sort_keys=True).encode())

    @property
    def images(self) -> NDArray[np.uint8]:
        """All pictures, uint8 [N, H, W, 3], memory-mapped and read-only."""
        return _map(self.folder / _IMAGES)

    def split(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(pictures to calibrate on, pictures held out to measure drift on): every eighth is held out.

        A set of fewer than sixteen is not split: both parts are then the whole set.
        """
        images = self.images
        if self.count < 2 * _HELD_OUT_EVERY:
            return images, images
        held_out = np.arange(self.count) % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1
        return images[~held_out], images[held_out]

    @classmethod
    def write(
        cls, folder: Path, images: NDArray[np.uint8], *, origin: str, made_from: Mapping[str, str]
    ) -> CalibrationSet:
        """Write `images` uint8 [N, H, W, 3] as a set, completely or not at all.

        Raises DataError, before anything is written, for pictures that cannot be used (see `coverage.check_images`).
        """
        check_images(images)
        folder = Path(folder)
        with replacing_folder(folder) as temporary:
            np.save(temporary / _IMAGES, np.ascontiguousarray(images), allow_pickle=False)
            count, height, width, _ = images.shape
            written = cls(
                folder, count, height, width, sha256_file(temporary / _IMAGES), origin, dict(sorted(made_from.items()))
            )
            write_json(temporary / _DESCRIPTION, {**written._description(), "digest": written.digest})
        return written

    @classmethod
    def open(cls, folder: Path) -> CalibrationSet:
        """Open a set and verify its digests. Raises FileError naming the file that is missing, truncated or altered."""
        folder = Path(folder)
        for name in (_DESCRIPTION, _IMAGES):
            if not (folder / name).is_file():
                raise FileError(f"{folder} is not a calibration set: {name} is missing", fix=_REBUILD)
        value = read_json(folder / _DESCRIPTION)
        try:
            opened = cls(
                folder=folder,
                count=int(value["count"]),
                height=int(value["height"]),
                width=int(value["width"]),
                sha256=str(value["sha256"]),
                origin=str(value["origin"]),
                made_from={str(name): str(digest) for name, digest in value["made_from"].items()},
            )
            digest = str(value["digest"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise FileError(f"{folder / _DESCRIPTION} lacks a field ({error!r})", fix=_REBUILD) from error
        if opened.digest != digest:
            raise FileError(f"{folder / _DESCRIPTION} was altered: its digest does not match", fix=_REBUILD)
        if sha256_file(folder / _IMAGES) != opened.sha256:
            raise FileError(f"{folder / _IMAGES} was altered or truncated: its digest does not match", fix=_REBUILD)
        if opened.images.shape != (opened.count, opened.height, opened.width, 3):
            raise FileError(f"{folder / _IMAGES} does not have the shape stated in {_DESCRIPTION}", fix=_REBUILD)
        return opened

    def require_size(self, height: int, width: int) -> None:
        """Raise DataError unless the pictures have the resolution of the model they are to calibrate."""
        if (self.height, self.width) != (height, width):
            raise DataError(
                f"The calibration set {self.folder} has pictures of {self.height}x{self.width}, but the model takes "
                f"{height}x{width}",
                fix="Make a set for this model: `edgekd calibrate`, or `edgekd distill` with this student",
            )

    def _description(self) -> dict[str, Any]:
        fields = asdict(self)
        del fields["folder"]
        return fields


def _map(path: Path) -> NDArray[np.uint8]:
    images: NDArray[np.uint8] = read_array(path, fix=_REBUILD)
    if images.dtype != np.uint8:
        raise FileError(f"{path} holds {images.dtype}, not uint8", fix=_REBUILD)
    return images
