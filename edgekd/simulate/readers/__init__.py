"""Simulated images from any source: one file per layout, one function to open any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from calibration.errors import DataError
from calibration.progress import Progress, Quiet
from edgekd.simulate.readers import folder, hypersim, own, scenenet, virtual_kitti
from edgekd.simulate.sample import ImageSource

__all__ = ["LAYOUTS", "Layout", "open_source"]


@dataclass(frozen=True)
class Layout:
    """A layout of simulated images on disk."""

    about: str
    matches: Callable[[Path], bool]
    open: Callable[[Path, Progress], ImageSource]


LAYOUTS = {
    "edgekd": Layout("manifest.json of edgekd simulate", own.matches, own.open_own),
    "scenenet": Layout("scenenet_rgbd_<split>.pb beside <split>/", scenenet.matches, scenenet.open_scenenet),
    "hypersim": Layout("ai_*/images/scene_cam_*_geometry_hdf5/", hypersim.matches, hypersim.open_hypersim),
    "virtual-kitti": Layout(
        "Scene*/<variation>/frames/rgb/Camera_0/", virtual_kitti.matches, virtual_kitti.open_virtual_kitti
    ),
    "folder": Layout("pictures, or images/ with masks/", folder.matches, folder.open_folder),
}
"""To add a layout, write a file beside this one and add an entry here. The first that matches is used."""


def open_source(path: Path, progress: Progress | None = None) -> ImageSource:
    """Open the simulated images in a folder, whatever their layout; notes tell what is left out.

    Raises DataError for a layout that is not known, and DataError, FileError or MissingRuntimeError from its reader.
    """
    path = Path(path).resolve()  # readers also look beside it
    if not path.is_dir():
        raise DataError(f"Folder {path} not found", fix="Check the path")
    for layout in LAYOUTS.values():
        if layout.matches(path):
            return layout.open(path, progress or Quiet())
    known = "; ".join(f"{name}: {layout.about}" for name, layout in LAYOUTS.items())
    raise DataError(f"The images in {path} have an unsupported layout", fix=f"Convert them to one of these: {known}")
