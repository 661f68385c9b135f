"""A plain folder of pictures, with or without masks.

    <folder>/images/*.jpg (or the pictures in the folder itself)        <folder>/masks/<same name>.png

A mask holds integer ids in one channel: 0 is what stays in place, 1 and up are objects. Without masks nothing is mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.errors import DataError
from calibration.progress import Progress
from calibration.wording import counted
from edgekd.pictures.reading import (
    PICTURE_SUFFIXES,
    is_on_its_side,
    list_pictures,
    open_header,
    open_picture,
    read_picture,
)
from edgekd.simulate.readers.frames import FrameSource, collect, fitting, instance_ids
from edgekd.simulate.sample import SimulatedImage

__all__ = ["PictureFrame", "matches", "open_folder"]

_ENDS = {"PNG": b"IEND", "JPEG": b"\xff\xd9", "MPO": b"\xff\xd9"}  # by format, as a file's suffix may be wrong
_TAIL = 1024  # bytes; some cameras write a little after a JPEG's end


@dataclass(frozen=True)
class PictureFrame:
    """A picture and, where there is one, its mask."""

    picture: Path
    mask: Path | None

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.picture,) if self.mask is None else (self.picture, self.mask)

    def read(self) -> SimulatedImage:
        rgb = read_picture(self.picture)
        if self.mask is None:
            return SimulatedImage(rgb, np.zeros(rgb.shape[:2], np.uint16))
        mask = fitting(np.asarray(open_picture(self.mask)), self.mask, rgb, self.picture)
        return SimulatedImage(rgb, instance_ids(mask, np.zeros(mask.shape[:2], bool), self.mask))


def matches(path: Path) -> bool:
    folder = _pictures(path)
    return folder.is_dir() and any(entry.suffix.lower() in PICTURE_SUFFIXES for entry in folder.iterdir())


def open_folder(path: Path, progress: Progress) -> FrameSource:
    """Open the pictures of a folder; truncated ones are left out and counted in a note.

    Raises DataError when none is left, or naming a mask that is truncated, in colour or of another size.
    """
    pictures = list_pictures(_pictures(path))
    whole = [picture for picture in pictures if _is_whole(picture)]
    if broken := [picture for picture in pictures if picture not in set(whole)]:
        skipped = f"{len(broken)} of {counted(len(pictures), 'picture')}"
        progress.note(f"Skipped {skipped}, truncated or not pictures, first {broken[0]}")
    if not whole:
        which = "The only picture" if len(pictures) == 1 else f"None of the {len(pictures)} pictures"
        readable = "cannot be read" if len(pictures) == 1 else "can be read"
        raise DataError(f"{which} in {path} {readable}", fix="Restore the files")
    masks = _masks(path)
    frames = [PictureFrame(picture, _checked(masks.get(picture.stem), picture)) for picture in whole]
    masked = sum(frame.mask is not None for frame in frames)
    if masked < len(frames):
        unmasked = len(frames) - masked
        have, their = ("has", "its") if unmasked == 1 else ("have", "their")
        progress.note(
            f"{unmasked} of {counted(len(frames), 'picture')} {have} no mask: none of {their} objects are mixed"
        )
    return collect("pictures", path, frames, progress)


def _pictures(path: Path) -> Path:
    return path / "images" if (path / "images").is_dir() else path


def _masks(path: Path) -> dict[str, Path]:
    """The masks by name, however the suffix is written; of a.PNG and a.png the latter."""
    folder = path / "masks"
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    return {entry.stem: entry for entry in entries if entry.suffix.lower() == ".png"}


def _checked(mask: Path | None, picture: Path) -> Path | None:
    """The mask of a picture. Raises DataError for one that does not fit it."""
    if mask is None:
        return None
    if not _is_whole(mask):
        raise DataError(f"{mask} is truncated or not a picture", fix="Save the mask again, or delete it")
    with open_header(mask) as header, open_header(picture) as other:
        size = other.size
        if is_on_its_side(picture):  # reading turns it; some versions of Pillow already turn a TIFF's size
            size = read_picture(picture).shape[1::-1] if other.format == "TIFF" else size[::-1]
        if header.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
            raise DataError(
                f"{mask} is in colour ({header.mode}), not integer ids", fix="Save it as a single-channel PNG"
            )
        if header.size != size:
            sizes = f"{header.size[0]}x{header.size[1]}", f"{size[0]}x{size[1]}"
            raise DataError(
                f"{mask} ({sizes[0]}) differs in size from {picture} ({sizes[1]})", fix="Use the same size for both"
            )
    return mask


def _is_whole(path: Path) -> bool:
    """Whether a picture has a readable header and, where its format has one, an end: few need to be decoded."""
    try:
        with open_header(path) as header, open(path, "rb") as stream:
            end = _ENDS.get(header.format or "", b"")
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _TAIL))
            if end not in stream.read():  # cut off, or followed by a film, as phones store moving photographs
                open_picture(path)
            return True
    except Exception:  # damaged files fail anywhere in Pillow's readers, with errors of any type
        return False
