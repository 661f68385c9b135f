"""NYU Depth v2, the labelled .mat: 1,449 frames of 480x640 in one HDF5 file, read one frame at a time.

The official test split of 654 frames is in splits.mat, which its authors publish beside the data. If it is beside the
file, only those frames are scored, otherwise all of them, and the data set's note says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from calibration.errors import DataError, MissingRuntimeError
from calibration.files import sha256_bytes, sha256_file
from calibration.wording import counted
from edgekd.evaluate.datasets.frame import DepthDataset, DepthFrame

__all__ = ["NyuLabelled", "matches", "open_nyu"]

_RESTORE = "Download nyu_depth_v2_labeled.mat again"
_FILE = "nyu_depth_v2_labeled.mat"


@dataclass(frozen=True)
class NyuLabelled:
    """A DepthDataset over the .mat; `frames` are the numbers read, from 0."""

    path: Path
    frames: tuple[int, ...]
    scenes: tuple[str, ...]  # of each of `frames`
    note: str
    name: str = "NYU Depth v2"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file and of the frames chosen."""
        return sha256_bytes(f"{sha256_file(self.path)} {self.frames}".encode())

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> DepthFrame:
        number = self.frames[index]
        try:
            with _open(self.path) as file:
                # MATLAB stores columns first: [frame, channel, column, row].
                rgb = np.ascontiguousarray(file["images"][number].transpose(2, 1, 0))
                depth = np.ascontiguousarray(file["depths"][number].T.astype(np.float32))
        except (OSError, KeyError, RuntimeError) as error:
            raise DataError(f"Frame {number} of {self.path} cannot be read ({error})", fix=_RESTORE) from error
        depth[~(np.isfinite(depth) & (depth > 0))] = 0
        return DepthFrame(rgb, depth, self.scenes[index], f"{self.path.name}/{number:04d}")


def matches(path: Path) -> bool:
    return path.suffix.lower() == ".mat" or (path / _FILE).is_file()


def open_nyu(path: Path) -> DepthDataset:
    """Open the labelled .mat. Raises MissingRuntimeError without h5py, DataError when the file is not it or damaged."""
    path = path / _FILE if path.is_dir() else path
    with _open(path) as file:
        for name, axes in (("images", 4), ("depths", 3)):
            if name not in file or file[name].ndim != axes:
                raise DataError(f"{path} has no {name!r}, unlike the labelled NYU file", fix=f"Pass {_FILE}")
        count = len(file["depths"])
        if file["images"].shape[0] != count or file["images"].shape[2:] != file["depths"].shape[1:]:
            raise DataError(f"{path}: its images and depths differ in number or size", fix=_RESTORE)
        try:
            scenes = _scenes(file, count)
        except (TypeError, ValueError, KeyError, RuntimeError, OverflowError) as error:
            raise DataError(f"{path}: its scenes cannot be read ({error})", fix=_RESTORE) from error
        if len(scenes) != count:
            raise DataError(f"{path} has {len(scenes)} scene names for {count} frames", fix=_RESTORE)
    splits = path.parent / "splits.mat"
    if splits.is_file():
        frames, note = _test_frames(splits, count), "the test split of splits.mat"
    else:
        frames, note = tuple(range(count)), "all frames: no splits.mat beside the file defines the test split"
    return NyuLabelled(path, frames, tuple(scenes[n] for n in frames), f"{counted(len(frames), 'frame')}, {note}")


def _open(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingRuntimeError(
            "Reading NYU Depth v2 needs h5py, which is not installed", fix="Run: pip install 'edgekd[nyu]'"
        ) from error
    if not path.is_file():
        raise DataError(f"File {path} not found", fix="Check the path")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} is truncated or not an HDF5 file ({error})", fix=_RESTORE) from error


def _scenes(file: Any, count: int) -> list[str]:
    """Scene names, for drawing whole scenes; in a file without them, each frame is a scene."""
    if "scenes" not in file:
        return [str(number) for number in range(count)]
    references = np.asarray(file["scenes"]).ravel()
    return ["".join(map(chr, np.asarray(file[reference]).ravel())) for reference in references]


def _test_frames(path: Path, count: int) -> tuple[int, ...]:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingRuntimeError(
            f"Reading {path} needs SciPy, which is not installed", fix="Run: pip install scipy"
        ) from error
    try:
        frames = np.asarray(loadmat(path)["testNdxs"]).ravel().astype(int) - 1
    except (KeyError, ValueError, TypeError, NotImplementedError, OSError) as error:
        raise DataError(f"{path} does not hold testNdxs ({error})", fix="Download splits.mat again") from error
    if frames.size == 0 or frames.min() < 0 or frames.max() >= count:
        raise DataError(f"{path} names frames that the data does not contain", fix="Download splits.mat again")
    return tuple(frames.tolist())
