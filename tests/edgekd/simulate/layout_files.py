"""Small sets of pictures on disk, in exactly the layouts that are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image

from calibration.progress import Quiet
from edgekd.simulate.rooms import RoomSettings
from edgekd.simulate.store import write_set

HEIGHT, WIDTH = 24, 32


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, plane: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(plane).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return path


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scenenet_message():
    """The part of the authors' scenenet.proto that is read, and one field that is not, built without compiling it."""
    file = descriptor_pb2.FileDescriptorProto(name="scenenet_test.proto", package="scenenet", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto

    def add(name, *fields):
        made = file.message_type.add(name=name)
        for field, number, kind, *more in fields:
            repeated = kinds.LABEL_REPEATED if more and more[-1] == "repeated" else kinds.LABEL_OPTIONAL
            entry = made.field.add(name=field, number=number, type=kind, label=repeated)
            if kind == kinds.TYPE_MESSAGE:
                entry.type_name = f".scenenet.{more[0]}"

    add("Pose", ("timestamp", 3, kinds.TYPE_FLOAT))
    number, text, message = kinds.TYPE_INT32, kinds.TYPE_STRING, kinds.TYPE_MESSAGE
    add("Instance", ("instance_id", 1, number), ("semantic_english", 3, text), ("instance_type", 4, number))
    add("View", ("frame_num", 1, number), ("shutter_open", 2, message, "Pose"))
    parts = ("instances", 2, message, "Instance", "repeated"), ("views", 3, message, "View", "repeated")
    add("Trajectory", *parts, ("render_path", 4, text))
    add("Trajectories", ("trajectories", 1, kinds.TYPE_MESSAGE, "Trajectory", "repeated"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("scenenet.Trajectories"))


def make_scenenet(root: Path, split: str = "val") -> Path:
    listed = scenenet_message()()
    for way, path in enumerate(("0/223", "0/7")):
        trajectory = listed.trajectories.add(render_path=path)
        names = ((0, 1, ""), (1, 2, "ceiling"), (2, 2, "chandelier"), (3, 3, "lightbulb"), (300, 4, "table"))
        for number, kind, name in names:
            trajectory.instances.add(instance_id=number, instance_type=kind, semantic_english=name)
        for frame in (0, 25, 7475):
            trajectory.views.add(frame_num=frame).shutter_open.timestamp = frame / 25
            folder = root / split.split("_")[0] / path
            save(folder / "photo" / f"{frame}.jpg", picture(way + frame))
            ids = np.zeros((HEIGHT, WIDTH), np.uint16)
            ids[4:8], ids[8:12], ids[12:16], ids[16:20] = 1, 2, 3, 300
            save(folder / "instance" / f"{frame}.png", ids)
            save(folder / "depth" / f"{frame}.png", np.full((HEIGHT, WIDTH), 2500, np.uint16))
    (root / f"scenenet_rgbd_{split}.pb").write_bytes(listed.SerializeToString())
    return root


def make_hypersim(root: Path, *, preview: bool = True) -> Path:
    h5py = pytest.importorskip("h5py", reason="Hypersim's planes are HDF5")
    for frame in (0, 17):
        images = root / "ai_001_001" / "images"
        geometry = images / "scene_cam_00_geometry_hdf5"
        geometry.mkdir(parents=True, exist_ok=True)
        labels = np.full((HEIGHT, WIDTH), 5, np.int16)  # chair
        labels[:4], labels[4:6], labels[6:8], labels[8:10] = 1, 2, 22, -1
        instances = np.full((HEIGHT, WIDTH), 70_000, np.int32)
        instances[:4], instances[4:8], instances[8:10], instances[20:] = 3, 4, -1, 12
        distance = np.full((HEIGHT, WIDTH), 4, np.float16)
        distance[0, 0] = np.nan
        planes = {"semantic": labels, "semantic_instance": instances, "depth_meters": distance}
        files = {geometry / f"frame.{frame:04d}.{name}.hdf5": plane for name, plane in planes.items()}
        if preview:
            save(images / "scene_cam_00_final_preview" / f"frame.{frame:04d}.tonemap.jpg", picture(frame))
        else:
            (images / "scene_cam_00_final_hdf5").mkdir(exist_ok=True)
            colour = images / "scene_cam_00_final_hdf5" / f"frame.{frame:04d}.color.hdf5"
            files[colour] = (picture(frame) / 50).astype(np.float16)
        for path, plane in files.items():
            with h5py.File(path, "w") as file:
                file["dataset"] = plane
    return root


def make_virtual_kitti(root: Path, *, apart: bool = False, spelling: str = "instanceSegmentation") -> Path:
    for frame in range(3):
        for kind, name in (("rgb", "rgb"), ("depth", "depth"), (spelling, "instancegt")):
            base = root / f"vkitti_2.0.3_{'instanceSegmentation' if kind == spelling else kind}" if apart else root
            folder = base / "Scene01/15-deg-left/frames" / kind / "Camera_0"
            folder.mkdir(parents=True, exist_ok=True)
            if kind == "rgb":
                save(folder / f"rgb_{frame:05d}.jpg", picture(frame))
            elif kind == "depth":
                depth = np.full((HEIGHT, WIDTH), 1234, np.uint16)
                depth[0] = 65535
                save(folder / f"depth_{frame:05d}.png", depth)
            else:
                ids = np.zeros((HEIGHT, WIDTH), np.uint8)
                ids[10:, :8], ids[10:, 20:] = 1, 7
                indexed = Image.fromarray(ids).convert("P")
                indexed.putpalette([value for index in range(256) for value in (255 - index, index, 0)])
                indexed.save(folder / f"{name}_{frame:05d}.png")
    return root


def make_edgekd(root: Path) -> Path:
    settings = RoomSettings(height=HEIGHT, width=WIDTH)
    write_set(root, settings, seed=1, count=4, workers=1, keep_depth=True, progress=Quiet())
    return root


def make_folder(root: Path) -> Path:
    for number in range(4):
        save(root / "images" / f"{number}.png", picture(number))
        save(root / "masks" / f"{number}.png", np.eye(HEIGHT, WIDTH, dtype=np.uint8))
    return root


MAKERS = {
    "edgekd": make_edgekd,
    "scenenet": make_scenenet,
    "hypersim": make_hypersim,
    "virtual-kitti": make_virtual_kitti,
    "folder": make_folder,
}
