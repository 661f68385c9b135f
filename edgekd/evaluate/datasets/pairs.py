"""Data sets of file pairs, a picture and its depth: shared by the folder layouts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from calibration.errors import DataError
from calibration.files import sha256_file
from edgekd.evaluate.datasets.depth import read_depth
from edgekd.evaluate.datasets.frame import DepthFrame
from edgekd.pictures.reading import is_turned, read_picture

__all__ = ["Pair", "PairedFiles", "check_units"]

_LOOKED_AT = 8  # frames read to judge a unit
_NEAREST, _FARTHEST = 0.05, 200.0  # metres; a median outside is a wrong unit, not a scene


@dataclass(frozen=True)
class Pair:
    """The files of a picture and of its depth."""

    rgb: Path
    depth: Path
    units_per_metre: float
    scene: str
    name: str


@dataclass(frozen=True)
class PairedFiles:
    """A DepthDataset of pairs; each frame is read on request."""

    name: str
    note: str
    pairs: tuple[Pair, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the bytes of every file, in order, with the units of each depth."""
        digest = hashlib.sha256()
        for pair in self.pairs:
            line = f"{sha256_file(pair.rgb)} {sha256_file(pair.depth)} {pair.units_per_metre!r} {pair.scene}\n"
            digest.update(line.encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> DepthFrame:
        """Read a frame. Raises DataError naming the file that is damaged, or the two that differ in size."""
        pair = self.pairs[index]
        rgb, depth = read_picture(pair.rgb), read_depth(pair.depth, pair.units_per_metre)
        if is_turned(pair.rgb):
            raise DataError(
                f"{pair.rgb} is rotated or mirrored by its EXIF orientation; whether its depth is too is unknown",
                fix="Store picture and depth upright, without an orientation",
            )
        if rgb.shape[:2] != depth.shape:
            raise DataError(
                f"{pair.rgb} is {rgb.shape[0]}x{rgb.shape[1]} and its depth {pair.depth} {depth.shape[0]}x"
                f"{depth.shape[1]}",
                fix="Register the depth to the picture, at the picture's size",
            )
        return DepthFrame(rgb, depth, pair.scene, pair.name)


def open_pairs(name: str, note: str, pairs: Sequence[Pair], *, mend_units: str) -> PairedFiles:
    """A data set of these pairs, after checking that every file exists and that the units are plausible.

    `mend_units` is what the user is told to do about wrong units. Raises DataError.
    """
    for path in (path for pair in pairs for path in (pair.rgb, pair.depth)):
        if not _is_there(path):
            raise DataError(f"{path} is listed in {name} but missing", fix="Restore it or remove its line")
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty (0 bytes)", fix="Restore or remove the file")
    check_units(pairs, mend_units)
    return PairedFiles(name, note, tuple(pairs))


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def check_units(pairs: Sequence[Pair], fix: str) -> None:
    """Raise DataError when depth read in the stated units is implausible: a median outside 0.05-200 m.

    Every unit and scene is judged by eight of its frames, so that one wrong part of an index is found.
    """
    groups: dict[tuple[float, str], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.units_per_metre, pair.scene), []).append(pair)
    for (units, _), group in groups.items():
        chosen = [group[i] for i in np.unique(np.linspace(0, len(group) - 1, _LOOKED_AT).astype(int))]
        depths = [depth[depth > 0] for depth in (read_depth(pair.depth, units) for pair in chosen)]
        values = np.concatenate(depths)
        if values.size == 0:
            continue
        median = float(np.median(values))
        if not _NEAREST <= median <= _FARTHEST:
            raise DataError(
                f"At {units:g} units per metre, files such as {chosen[0].depth} have a median depth of {median:.4g} m",
                fix=fix,
            )
