"""Hypersim (Roberts et al., ICCV 2021): one scene's folder, or a folder of scenes.

    <scene>/images/scene_cam_00_final_preview/frame.0000.tonemap.jpg        or, where previews were not extracted,
    <scene>/images/scene_cam_00_final_hdf5/frame.0000.color.hdf5            tone-mapped here as its authors do
    <scene>/images/scene_cam_00_geometry_hdf5/frame.0000.{semantic_instance,semantic,depth_meters}.hdf5

`semantic` holds NYU40 labels. depth_meters is the length of each pixel's ray; the field of view is taken as 60 degrees
across, which does not quite hold for a few scenes with tilted lenses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import FileError, MissingRuntimeError
from calibration.progress import Progress
from edgekd.pictures.reading import read_picture
from edgekd.simulate.readers.frames import FrameSource, check_numbers, collect, fitting, instance_ids, planar
from edgekd.simulate.sample import SimulatedImage

__all__ = ["HypersimFrame", "matches", "open_hypersim", "tone_mapped"]

_ROOM = (1, 2, 8, 9, 22)  # NYU40: wall, floor, door, window, ceiling
_ACROSS = math.tan(math.radians(60 / 2))
_CAMERAS = "images/scene_cam_*_geometry_hdf5"


@dataclass(frozen=True)
class HypersimFrame:
    """One view; `depth` is None where it was not extracted."""

    picture: Path
    instances: Path
    semantic: Path
    depth: Path | None

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.picture, self.instances, self.semantic, *([] if self.depth is None else [self.depth]))

    def read(self) -> SimulatedImage:
        preview = self.picture.suffix != ".hdf5"
        rgb = read_picture(self.picture) if preview else tone_mapped(_radiance(self.picture))
        instances = fitting(_dataset(self.instances), self.instances, rgb, self.picture)
        labels = fitting(_dataset(self.semantic), self.semantic, rgb, self.picture)
        ids = instance_ids(instances, np.isin(labels, _ROOM), self.instances)
        if self.depth is None:
            return SimulatedImage(rgb, ids)
        distance = fitting(_dataset(self.depth), self.depth, rgb, self.picture).astype(np.float32)
        height, width = distance.shape
        return SimulatedImage(rgb, ids, planar(distance, _ACROSS, _ACROSS * height / width))


def matches(path: Path) -> bool:
    return any(path.glob(_CAMERAS)) or any(path.glob(f"*/{_CAMERAS}"))


def open_hypersim(path: Path, progress: Progress) -> FrameSource:
    """Open a scene or a folder of them. Raises DataError without whole frames, MissingRuntimeError without h5py."""
    _h5py()
    return collect("Hypersim", path, _frames(path), progress)


def _frames(path: Path) -> Iterator[HypersimFrame]:
    for geometry in sorted([*path.glob(_CAMERAS), *path.glob(f"*/{_CAMERAS}")]):
        camera = geometry.name.removesuffix("_geometry_hdf5")
        for instances in sorted(geometry.glob("frame.*.semantic_instance.hdf5")):
            frame = instances.name.removesuffix(".semantic_instance.hdf5")
            picture = geometry.with_name(f"{camera}_final_preview") / f"{frame}.tonemap.jpg"
            if not picture.exists():
                picture = geometry.with_name(f"{camera}_final_hdf5") / f"{frame}.color.hdf5"
            depth = geometry / f"{frame}.depth_meters.hdf5"
            yield HypersimFrame(
                picture, instances, geometry / f"{frame}.semantic.hdf5", depth if depth.exists() else None
            )


def tone_mapped(radiance: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 RGB from linear radiance [H, W, 3]: the 90th percentile of brightness becomes 0.8, gamma 2.2.

    After scene_generate_images_tonemap.py of the data set's own tools.
    """
    linear = np.nan_to_num(radiance.astype(np.float32), posinf=0, neginf=0)
    bright = float(np.percentile(linear @ np.array([0.3, 0.59, 0.11], np.float32), 90))
    scale = 0.8**2.2 / bright if bright >= 1e-4 else 0.0
    return np.round(255 * np.clip(linear * scale, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def _radiance(path: Path) -> NDArray[Any]:
    found = _dataset(path)
    check_numbers(found, path, colours=True)
    return found


def _dataset(path: Path) -> NDArray[Any]:
    """The one array of a file. Raises FileError naming it when it is truncated or holds something else."""
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as file:
            return np.asarray(file["dataset"])
    except Exception as error:  # for damaged files, h5py raises errors of many types
        raise FileError(f"{path} cannot be read ({error})", fix="Extract the scene's archive again") from error


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingRuntimeError("Hypersim needs h5py, which is not installed", fix="Run: pip install h5py") from error
    return h5py
