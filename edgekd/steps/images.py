"""The simulated images of a distillation: either rendered once and kept in the cache, or from a folder."""

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
from calibration.wording import counted
from edgekd.cores import allowed_cores
from edgekd.models.fetch import cache_folder, require_cache
from edgekd.run.lock import locked
from edgekd.simulate.growing import GrowingSet
from edgekd.simulate.readers import open_source
from edgekd.simulate.rooms import RENDERER, RoomSettings
from edgekd.simulate.sample import ImageSource
from edgekd.simulate.store import SimulatedSet, write_set

__all__ = [
    "ImagesSpec",
    "complete_or_locked",
    "grow_images",
    "open_images",
    "open_rendered",
    "parse_images",
    "require_images",
]


_PATIENCE = 6 * 3600.0  # seconds to wait for another process that renders the same images
_RETRY_SECONDS = 5.0  # seconds between two looks for the finished images


@dataclass(frozen=True)
class ImagesSpec:
    """`count` rooms of `seed`, or the set in `folder`."""

    count: int = 2000
    seed: int = 0
    folder: Path | None = None

    def describe(self) -> dict[str, Any]:
        """What decides the images: of a folder its pictures, wherever it is. Raises FileError for a damaged one."""
        if self.folder is not None:
            return {"pictures": self.digest[:12]}
        return {"rooms": self.count, "seed": self.seed, "renderer": RENDERER, **RoomSettings().to_json()}

    def require(self, images: int, progress: Progress) -> None:
        """Raise UsageError, before anything is rendered, when the spec has fewer images than this.

        Notes then say which images of a folder were left out.
        """
        count = self.count if self.folder is None else len(open_source(self.folder))
        if count < images:
            if self.folder is not None:
                open_source(self.folder, progress)
            raise UsageError(
                f"{counted(count, 'image is', 'images are')} too few: {images} are needed for those set aside and one "
                "batch",
                fix=f"Use --images {images} or more"
                if self.folder is None
                else f"Pass a larger set; to render one: edgekd simulate --count {images}",
            )

    @property
    def digest(self) -> str:
        """Digest of a folder's pictures, or of what decides the rendering. Raises FileError for a damaged folder."""
        if self.folder is not None:
            return open_source(self.folder).digest
        return sha256_bytes(json.dumps(self.describe(), sort_keys=True).encode())


def parse_images(text: str, seed: int) -> ImagesSpec:
    """Parse a number of rooms to simulate, or a folder of simulated images. Raises UsageError."""
    if text.isdecimal() and int(text) > 0:
        return ImagesSpec(count=int(text), seed=seed)
    if Path(text).is_dir():
        return ImagesSpec(folder=Path(text))
    raise UsageError(
        f"{text!r} is neither a folder nor a number of images",
        fix="Pass a number such as --images 2000, or a folder from edgekd simulate or in another supported layout",
    )


def require_images(spec: ImagesSpec) -> None:
    """Raise FileError, before minutes of other work, where the images are not there and cannot be rendered."""
    if spec.folder is None:
        with contextlib.suppress(FileError):
            SimulatedSet.open(_cached(spec))
            return
        require_cache()


def open_images(spec: ImagesSpec, progress: Progress) -> ImageSource:
    """The images, rendered first if they are not in the cache; waits while another process renders them.

    Raises DataError, FileError or RunLockedError.
    """
    if spec.folder is not None:
        return open_source(spec.folder, progress)
    folder = _cached(spec)
    with complete_or_locked(folder, progress) as complete:
        return complete or write_set(
            folder,
            RoomSettings(),
            seed=spec.seed,
            count=spec.count,
            workers=len(allowed_cores()),
            keep_depth=False,
            progress=progress,
        )


def open_rendered(spec: ImagesSpec) -> ImageSource:
    """The images that another process of this command has rendered. Raises FileError when they are incomplete."""
    return open_source(spec.folder) if spec.folder is not None else SimulatedSet.open(_cached(spec))


@contextlib.contextmanager
def grow_images(spec: ImagesSpec, progress: Progress) -> Iterator[ImageSource]:
    """The images while they are being rendered, on all cores but one; rendering stops at the end of the block.

    Waits while another process renders them. A folder is opened as it is. Raises what `open_images` raises, but when a
    picture is read.
    """
    if spec.folder is not None:
        yield open_source(spec.folder, progress)
        return
    folder = _cached(spec)
    with complete_or_locked(folder, progress):
        images = GrowingSet(
            folder,
            RoomSettings(),
            seed=spec.seed,
            count=spec.count,
            workers=max(1, len(allowed_cores()) - 1),
            keep_depth=False,
        )
        try:
            yield images
        finally:
            images.close()
            if images.waited > 1:
                progress.note(f"Training waited {images.waited:.0f} s for pictures still being rendered")


@contextlib.contextmanager
def complete_or_locked(folder: Path, progress: Progress) -> Iterator[SimulatedSet | None]:
    """Yield the set once it is complete, or None once this process holds the lock and may render it.

    A complete set needs no lock, whose holder may be training.
    """
    end, told = time.monotonic() + _PATIENCE, progress
    with contextlib.ExitStack() as held:
        while True:
            complete = None
            with contextlib.suppress(FileError):
                complete = SimulatedSet.open(folder)
                break
            require_cache()
            try:
                held.enter_context(locked(folder, told, wait=_RETRY_SECONDS))
                break
            except RunLockedError:
                if time.monotonic() > end:
                    raise
                told = Quiet()  # the first attempt already noted the other process
        yield complete


def _cached(spec: ImagesSpec) -> Path:
    return cache_folder() / "simulated" / spec.digest[:16]
