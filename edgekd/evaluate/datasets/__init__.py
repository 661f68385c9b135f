"""Data sets with depth: one file per layout, one function to open any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from calibration.errors import DataError
from edgekd.evaluate.datasets import folders, index, kitti, nyu, simulated
from edgekd.evaluate.datasets.frame import DepthDataset, DepthFrame

__all__ = ["LAYOUTS", "DepthDataset", "DepthFrame", "Layout", "find_data", "open_dataset"]


@dataclass(frozen=True)
class Layout:
    """A layout of data on disk."""

    about: str
    matches: Callable[[Path], bool]
    open: Callable[[Path], DepthDataset]


LAYOUTS = {
    "index": Layout("index.csv with dataset,rgb,depth,depth_units_per_metre[,scene]", index.matches, index.open_index),
    "nyu": Layout("nyu_depth_v2_labeled.mat", nyu.matches, nyu.open_nyu),
    "kitti-selection": Layout(
        "val_selection_cropped with image/ and groundtruth_depth/", kitti.matches_selection, kitti.open_selection
    ),
    "kitti-annotated": Layout(
        "KITTI raw with {val,train}/<drive>/proj_depth/", kitti.matches_annotated, kitti.open_annotated
    ),
    "simulated": Layout("a set of `edgekd simulate` with depth", simulated.matches, simulated.open_simulated),
    "folders": Layout("rgb/ and depth/ with matching file names", folders.matches, folders.open_folders),
}
"""To add a layout, write a file beside this one and add an entry here. The first that matches is used."""


def find_data(spec: str) -> Path | None:
    """The path of data, or None where nothing lies there."""
    try:
        path = Path(spec).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError):  # a name too long for this file system; the home of a user who is not known here
        return None


def open_dataset(spec: str) -> DepthDataset:
    """Open the data at a path, whatever its layout. Raises DataError, FileError or MissingRuntimeError."""
    if not spec:
        raise DataError(
            "The path of the data is empty", fix="Pass the folder or file with the pictures and their depth"
        )
    path = find_data(spec)
    if path is None:
        raise DataError(f"Data not found: {spec}", fix="Check the path")
    for layout in LAYOUTS.values():
        if layout.matches(path):
            return layout.open(path)
    known = "; ".join(f"{name}: {layout.about}" for name, layout in LAYOUTS.items())
    raise DataError(f"The data at {spec} has an unsupported layout", fix=f"Convert it to one of these: {known}")
