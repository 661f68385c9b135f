"""The simulated images that a distillation takes: so many, rendered once and kept in the cache, or a folder."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.errors import FileError, RunLockedError, UsageError
from calibration.files import sha256_bytes
from calibration.progress import Progress, Quiet
from edgekd.cores import allowed_cores
from edgekd.models.fetch import cache_folder
from edgekd.run.lock import locked
from edgekd.simulate.growing import GrowingSet
from edgekd.simulate.readers import open_source
from edgekd.simulate.rooms import RENDERER, RoomSettings
from edgekd.simulate.sample import ImageSource
from edgekd.simulate.store import SimulatedSet, write_set

__all__ = ["ImagesSpec", "grow_images", "open_images", "open_rendered", "parse_images", "usable_cores"]


_PATIENCE = 6 * 3600.0  # seconds, for another process that renders the same images
_TURN = 5.0  # of them, after which it is looked whether the images are there


@dataclass(frozen=True)
class ImagesSpec:
    """`count` rooms of `seed`, or the set in `folder`."""

    count: int = 2000
    seed: int = 0
    folder: Path | None = None

    def describe(self) -> dict[str, Any]:
        """What decides the images, as far as it is known before they are rendered or read."""
        if self.folder is not None:
            return {"folder": str(self.folder.resolve())}
        return {"rooms": self.count, "seed": self.seed, "renderer": RENDERER, **RoomSettings().to_json()}

    def require(self, images: int) -> None:
        """Raise UsageError when fewer are asked for than are needed: before they are rendered, not after."""
        count = self.count if self.folder is None else len(open_source(self.folder))
        if count < images:
            raise UsageError(
                f"{count} images are too few: set aside and in one batch there are {images}",
                fix=f"Give --images {images} or more"
                if self.folder is None
                else f"Give a folder of more, such as edgekd simulate --count {images} makes",
            )

    @property
    def digest(self) -> str:
        """Of a folder's pictures, or of all that decides what is rendered. Raises FileError for a damaged folder."""
        if self.folder is not None:
            return open_source(self.folder).digest
        return sha256_bytes(json.dumps(self.describe(), sort_keys=True).encode())


def parse_images(text: str, seed: int) -> ImagesSpec:
    """A number of rooms to simulate, or a folder of simulated images. Raises UsageError."""
    if text.isdecimal() and int(text) > 0:
        return ImagesSpec(count=int(text), seed=seed)
    if Path(text).is_dir():
        return ImagesSpec(folder=Path(text))
    raise UsageError(
        f"There is no folder {text!r}, and it is no number of images",
        fix="Give a number such as --images 2000, or a folder made by edgekd simulate or in another layout it knows",
    )


def open_images(spec: ImagesSpec, progress: Progress) -> ImageSource:
    """The images, rendered first where they are not in the cache; while another process renders them it is waited for.

    Raises DataError, FileError or RunLockedError.
    """
    if spec.folder is not None:
        return open_source(spec.folder, progress)
    folder = _cached(spec)
    end, told = time.monotonic() + _PATIENCE, progress
    while True:
        with contextlib.suppress(FileError):  # a set that is whole needs no lock: whoever holds it may be training
            return SimulatedSet.open(folder)
        try:
            with locked(folder, told, wait=_TURN):
                return write_set(
                    folder,
                    RoomSettings(),
                    seed=spec.seed,
                    count=spec.count,
                    workers=usable_cores(),
                    keep_depth=False,
                    progress=progress,
                )
        except RunLockedError:
            if time.monotonic() > end:
                raise
            told = Quiet()  # it was said that another process is rendering them


def open_rendered(spec: ImagesSpec) -> ImageSource:
    """The images, once another process of this command has rendered them. Raises FileError when they are not whole."""
    return open_source(spec.folder) if spec.folder is not None else SimulatedSet.open(_cached(spec))


@contextlib.contextmanager
def grow_images(spec: ImagesSpec, progress: Progress) -> Iterator[ImageSource]:
    """The images while they are being rendered, on all cores but one; the rendering ends with the block.

    A folder is there already and is opened as it is. Raises as `open_images`, where a picture is asked for.
    """
    if spec.folder is not None:
        yield open_source(spec.folder, progress)
        return
    folder = _cached(spec)
    with locked(folder, progress):
        images = GrowingSet(
            folder,
            RoomSettings(),
            seed=spec.seed,
            count=spec.count,
            workers=max(1, usable_cores() - 1),
            keep_depth=False,
        )
        try:
            yield images
        finally:
            images.close()
            if images.waited > 1:
                progress.note(f"Training waited {images.waited:.0f} s for pictures that were not rendered yet")


def _cached(spec: ImagesSpec) -> Path:
    return cache_folder() / "simulated" / spec.digest[:16]


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(allowed_cores())
