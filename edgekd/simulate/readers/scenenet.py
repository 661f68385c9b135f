"""SceneNet RGB-D (McCormac et al., ICCV 2017): scenenet_rgbd_<split>.pb beside the frames it lists.

    <folder>/scenenet_rgbd_val.pb
    <folder>/val/<render_path>/{photo/<n>.jpg, instance/<n>.png, depth/<n>.png}      (`val/` may be left out)

The ids of instances are those of the protobuf's trajectory; its background and layout (walls, floor, ceiling and what
is built into them) are the room. Depth is in millimetres along each pixel's ray; the field of view is 60 by 45 degrees.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.errors import FileError
from calibration.files import sha256_bytes
from calibration.progress import Progress
from edgekd.pictures.reading import open_picture, read_picture
from edgekd.simulate.readers.frames import FrameSource, collect, fitting, instance_ids, planar
from edgekd.simulate.readers.protobuf import fields, integer, message, text
from edgekd.simulate.sample import SimulatedImage

__all__ = ["SceneNetFrame", "Trajectory", "matches", "open_scenenet", "read_trajectories"]

_PREFIX = "scenenet_rgbd_"
_ROOM = (1, 2)  # InstanceType BACKGROUND and LAYOUT_OBJECT
_ACROSS, _DOWN = math.tan(math.radians(60 / 2)), math.tan(math.radians(45 / 2))


@dataclass(frozen=True)
class Trajectory:
    """One camera's path through one room."""

    render_path: str
    frames: tuple[int, ...]
    room: tuple[int, ...]  # instances that are the room itself


@dataclass(frozen=True)
class SceneNetFrame:
    """One view; `depth` is None where that archive was not extracted."""

    photo: Path
    instance: Path
    depth: Path | None
    room: tuple[int, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.photo, self.instance, *([] if self.depth is None else [self.depth]))

    def read(self) -> SimulatedImage:
        rgb = read_picture(self.photo)
        instances = fitting(np.asarray(open_picture(self.instance)), self.instance, rgb, self.photo)
        ids = instance_ids(instances, np.isin(instances, self.room), self.instance)
        if self.depth is None:
            return SimulatedImage(rgb, ids)
        millimetres = fitting(np.asarray(open_picture(self.depth)), self.depth, rgb, self.photo)
        return SimulatedImage(rgb, ids, planar(millimetres / 1000, _ACROSS, _DOWN))


def matches(path: Path) -> bool:
    return any(path.glob(f"{_PREFIX}*.pb"))


def open_scenenet(path: Path, progress: Progress) -> FrameSource:
    """Open every split whose protobuf lies here. Raises FileError for a damaged one, DataError without frames."""
    files = sorted(path.glob(f"{_PREFIX}*.pb"))
    contents = {file: _bytes(file) for file in files}
    frames = [frame for file, data in contents.items() for frame in _frames(path, file, data)]
    digests = " ".join(sha256_bytes(data) for data in contents.values())
    return collect("SceneNet RGB-D", path, frames, progress, also=digests)


def read_trajectories(data: bytes) -> Iterator[Trajectory]:
    """The trajectories of a scenenet_rgbd_*.pb (message Trajectories). Raises ValueError when it is damaged."""
    for number, value in fields(memoryview(data)):
        if number == 1:
            yield _trajectory(message(value))


def _trajectory(data: memoryview) -> Trajectory:
    render_path, frames, room = "", [], []
    for number, value in fields(data):
        if number == 2:  # Instance: 1 instance_id, 4 instance_type
            instance = {key: part for key, part in fields(message(value)) if key in (1, 4)}
            if integer(instance.get(4, 1)) in _ROOM:
                room.append(integer(instance.get(1, 0)))
        elif number == 3:  # View: 1 frame_num
            frames += [integer(part) for key, part in fields(message(value)) if key == 1] or [0]
        elif number == 4:
            render_path = text(value)
            if render_path.startswith("/") or ".." in render_path.split("/") or "\0" in render_path:
                raise ValueError(f"the frames of {render_path!r} would lie outside its folder")
    return Trajectory(render_path, tuple(frames), tuple(room))


def _frames(path: Path, file: Path, data: bytes) -> Iterator[SceneNetFrame]:
    try:
        trajectories = list(read_trajectories(data))
    except ValueError as error:
        raise FileError(
            f"{file} is truncated or not a SceneNet RGB-D protobuf ({error})", fix="Download it again"
        ) from error
    split = file.stem.removeprefix(_PREFIX)
    roots = [path / split, path / split.split("_")[0], path]  # the training set comes as train_0 to train_16
    root = next((root for root in roots if any((root / way.render_path).is_dir() for way in trajectories)), roots[0])
    for way in trajectories:
        folder = root / way.render_path
        kept = (folder / "depth").is_dir()
        for number in way.frames:
            depth = folder / "depth" / f"{number}.png" if kept else None
            yield SceneNetFrame(
                folder / "photo" / f"{number}.jpg", folder / "instance" / f"{number}.png", depth, way.room
            )


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise FileError(f"Cannot read {file}: {error.strerror}", fix="Check the file and its permissions") from error
