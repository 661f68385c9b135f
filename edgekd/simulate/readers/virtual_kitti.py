"""Virtual KITTI 2 (Cabon et al., arXiv 2001.10773): its archives in one folder, merged or side by side.

    Scene01/<variation>/frames/rgb/Camera_0/rgb_00000.jpg
    Scene01/<variation>/frames/instanceSegmentation/Camera_0/instancegt_00000.png
    Scene01/<variation>/frames/depth/Camera_0/depth_00000.png

Instances are vehicles; all else has the id 0. Depth is in centimetres along the optical axis; the sky has 655.35 m.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.progress import Progress
from edgekd.pictures.reading import open_picture, read_picture
from edgekd.simulate.readers.frames import FrameSource, collect, fitting, instance_ids
from edgekd.simulate.sample import SimulatedImage

__all__ = ["VirtualKittiFrame", "matches", "open_virtual_kitti"]

_CAMERAS = "Scene*/*/frames/rgb/Camera_*"


@dataclass(frozen=True)
class VirtualKittiFrame:
    """One view; `depth` is None where that archive was not extracted."""

    picture: Path
    instances: Path
    depth: Path | None

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.picture, self.instances, *([] if self.depth is None else [self.depth]))

    def read(self) -> SimulatedImage:
        rgb = read_picture(self.picture)
        instances = fitting(np.asarray(open_picture(self.instances)), self.instances, rgb, self.picture)
        ids = instance_ids(instances, np.zeros(instances.shape[:2], bool), self.instances)
        if self.depth is None:
            return SimulatedImage(rgb, ids)
        centimetres = fitting(np.asarray(open_picture(self.depth)), self.depth, rgb, self.picture)
        return SimulatedImage(rgb, ids, centimetres.astype(np.float32) / np.float32(100))


def matches(path: Path) -> bool:
    return any(path.glob(_CAMERAS)) or any(path.glob(f"vkitti_*_rgb/{_CAMERAS}"))


def open_virtual_kitti(path: Path, progress: Progress) -> FrameSource:
    """Open all scenes, variations and cameras that are there. Raises DataError without whole frames."""
    return collect("Virtual KITTI 2", path, _frames(path), progress)


def _frames(path: Path) -> Iterator[VirtualKittiFrame]:
    for camera in sorted([*path.glob(_CAMERAS), *path.glob(f"vkitti_*_rgb/{_CAMERAS}")]):
        instances, depth = (_beside(camera, kind) for kind in ("instanceSegmentation", "depth"))
        for picture in sorted(camera.glob("rgb_*.jpg")):
            number = picture.stem.removeprefix("rgb_")
            there = depth / f"depth_{number}.png" if depth.is_dir() else None
            yield VirtualKittiFrame(picture, instances / f"instancegt_{number}.png", there)


def _beside(camera: Path, kind: str) -> Path:
    """The folder of another kind of plane; its own archive is named like rgb's. Both spellings are in use."""
    frames = camera.parent.parent
    archive = frames.parent.parent.parent
    apart = archive.with_name(archive.name.removesuffix("_rgb") + f"_{kind}")
    tails = [Path(frames.relative_to(archive), name, camera.name) for name in (kind, kind.lower())]
    places = [base / tail for base in (archive, apart) for tail in tails]
    return next((place for place in places if place.is_dir()), places[0])
