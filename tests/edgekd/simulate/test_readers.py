"""Third-party sets: small files in exactly their layouts, and the messages when they are damaged."""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from notes import Notes
from PIL import Image

from calibration.errors import DataError, EdgekdError, FileError
from calibration.progress import Quiet
from edgekd.distill.framed_images import FramedImages
from edgekd.distill.mixing import mix_batch, object_areas, plan_batch
from edgekd.distill.settings import MixingSettings
from edgekd.pictures import read_picture
from edgekd.simulate.readers import LAYOUTS, open_source
from edgekd.simulate.readers.hypersim import tone_mapped
from edgekd.simulate.rooms import RoomSettings
from edgekd.simulate.store import write_set
from targets.input import Framing

HEIGHT, WIDTH = 24, 32


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, plane: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(plane).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return path


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# SceneNet RGB-D


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


def test_scenenet_is_read_as_it_ships(tmp_path):
    source = open_source(make_scenenet(tmp_path))
    assert len(source) == 6
    image = source[1]
    original = np.asarray(Image.open(tmp_path / "val/0/223/photo/25.jpg"))
    np.testing.assert_array_equal(image.rgb, original)
    assert image.ids.dtype == np.uint16
    assert set(np.unique(image.ids)) == {0, 3, 300}  # background and layout are the room; lights and objects are not
    assert (image.ids[:12] == 0).all() and (image.ids[16:20] == 300).all()
    # A ray of 2.5 m through the middle of the corner pixel, with half angles of 30 and 22.5 degrees.
    x, y = math.tan(math.pi / 6) * (WIDTH - 1) / WIDTH, math.tan(math.pi / 8) * (HEIGHT - 1) / HEIGHT
    assert image.depth[0, 0] == pytest.approx(2.5 / math.sqrt(1 + x * x + y * y), rel=1e-5)
    assert image.depth.max() == pytest.approx(2.5, rel=2e-3) and image.depth.dtype == np.float32


def test_scenenet_training_splits_lie_in_one_folder_train(tmp_path):
    assert len(open_source(make_scenenet(tmp_path, "train_3"))) == 6


def test_scenenet_frames_that_are_not_there_are_counted_and_depth_may_be_missing(tmp_path):
    make_scenenet(tmp_path)
    (tmp_path / "val/0/223/photo/25.jpg").unlink()
    (tmp_path / "val/0/7/instance/0.png").write_bytes(b"")
    for number in (0, 25, 7475):
        (tmp_path / f"val/0/7/depth/{number}.png").unlink()
    (tmp_path / "val/0/7/depth").rmdir()
    notes = Notes()
    source = open_source(tmp_path, notes)
    assert len(source) == 4 and source[-1].depth is None and source[0].depth is not None
    assert len(notes.said) == 1 and "2 of 6" in notes.said[0] and "25.jpg" in notes.said[0]


def test_scenenet_damage_is_one_line_that_names_the_file(tmp_path):
    make_scenenet(tmp_path)
    truncate(tmp_path / "val/0/223/instance/0.png")
    source = open_source(tmp_path)
    with pytest.raises(EdgekdError, match=r"223/instance/0\.png.*truncated"):
        source[0]
    save(tmp_path / "val/0/223/instance/0.png", np.zeros((HEIGHT, WIDTH + 1), np.uint16))
    with pytest.raises(DataError, match=r"0\.png \(33x24\) differs in size from .*0\.jpg \(32x24\)"):
        open_source(tmp_path)[0]
    truncate(tmp_path / "scenenet_rgbd_val.pb")
    with pytest.raises(FileError, match=r"scenenet_rgbd_val\.pb is truncated"):
        open_source(tmp_path)


# Hypersim


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


def test_hypersim_is_read_as_it_ships(tmp_path):
    make_hypersim(tmp_path)
    for root in (tmp_path, tmp_path / "ai_001_001"):
        source = open_source(root)
        assert len(source) == 2
        image = source[1]
        assert (image.ids[:10] == 0).all()  # wall, floor, ceiling, nothing
        assert len(np.unique(image.ids[10:20])) == 1 and len(np.unique(image.ids)) == 3
        assert image.ids[12, 0] != image.ids[22, 0] and image.ids.dtype == np.uint16
        # 60 degrees across with square pixels: at 1024 pixels a focal length of 886.81 (the value its users quote).
        focal = 886.81 * WIDTH / 1024
        x, y = (WIDTH - 1) / 2 / focal, (HEIGHT - 1) / 2 / focal
        assert image.depth[-1, -1] == pytest.approx(4 / math.sqrt(1 + x * x + y * y), rel=1e-4)
        assert image.depth[0, 0] == 0  # the ray hit nothing


def test_hypersim_without_previews_is_tone_mapped(tmp_path):
    image = open_source(make_hypersim(tmp_path, preview=False))[0]
    bright = (image.rgb / 255.0) ** 2.2 @ [0.3, 0.59, 0.11]
    assert np.percentile(bright, 90) ** (1 / 2.2) == pytest.approx(0.8, abs=0.03)  # some channels are clipped
    assert tone_mapped(np.zeros((4, 4, 3))).max() == 0  # no light, and no division by 0


def test_hypersim_damage_is_one_line_that_names_the_file(tmp_path):
    make_hypersim(tmp_path)
    damaged = next(tmp_path.glob("**/frame.0000.semantic.hdf5"))
    truncate(damaged)
    source = open_source(tmp_path)
    with pytest.raises(FileError, match=r"frame\.0000\.semantic\.hdf5 cannot be read"):
        source[0]
    assert source[1].ids.any()
    damaged.unlink()
    notes = Notes()
    assert len(open_source(tmp_path, notes)) == 1 and "1 of 2" in notes.said[0]


@pytest.mark.parametrize(
    ("name", "plane"),
    [
        ("depth_meters", np.ones((HEIGHT, WIDTH, 1), np.float16)),
        ("depth_meters", np.array(2.0)),
        ("depth_meters", np.full((HEIGHT, WIDTH), b"far")),
        ("semantic", np.ones((HEIGHT, WIDTH, 1), np.int16)),
        ("semantic_instance", np.ones(HEIGHT * WIDTH, np.int16)),
        ("color", np.ones((HEIGHT, WIDTH), np.float16)),
        ("color", np.ones((HEIGHT, WIDTH, 4), np.float16)),
    ],
)
def test_hypersim_planes_of_another_shape_are_named(tmp_path, name, plane):
    make_hypersim(tmp_path, preview=False)
    h5py = pytest.importorskip("h5py")
    damaged = next(tmp_path.glob(f"**/frame.0000.{name}.hdf5"))
    with h5py.File(damaged, "w") as file:
        file["dataset"] = plane
    with pytest.raises(DataError, match=rf"frame\.0000\.{name}\.hdf5 holds .*, not \w+ numbers? per pixel"):
        open_source(tmp_path)[0]


# Virtual KITTI 2


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


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("spelling", ["instanceSegmentation", "instancesegmentation"])
def test_virtual_kitti_is_read_as_it_ships(tmp_path, apart, spelling):
    source = open_source(make_virtual_kitti(tmp_path, apart=apart, spelling=spelling))
    assert len(source) == 3
    image = source[2]
    assert set(np.unique(image.ids)) == {0, 1, 7} and (image.ids[10:, 20:] == 7).all()
    assert image.depth[5, 5] == pytest.approx(12.34) and image.depth[0, 0] == pytest.approx(655.35)


def test_virtual_kitti_may_be_named_by_one_of_its_archives(tmp_path, monkeypatch):
    make_virtual_kitti(tmp_path, apart=True)
    monkeypatch.chdir(tmp_path / "vkitti_2.0.3_rgb/Scene01")
    digests = set()
    for path in (tmp_path / "vkitti_2.0.3_rgb", Path("..")):
        source = open_source(path)
        assert len(source) == 3 and source[0].depth is not None
        digests.add(source.digest)
    assert len(digests) == 1


def test_virtual_kitti_without_its_masks_says_which_file_is_missing(tmp_path):
    make_virtual_kitti(tmp_path)
    for path in tmp_path.glob("**/instancegt_*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"Virtual KITTI 2.*instancegt_00000\.png is missing"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("make", "plane"),
    [
        (make_virtual_kitti, "depth_00000"),
        (make_virtual_kitti, "instancegt_00000"),
        (make_scenenet, "depth/0"),
        (make_scenenet, "instance/0"),
    ],
)
def test_planes_in_colour_are_named(tmp_path, make, plane):
    make(tmp_path)
    save(sorted(tmp_path.glob(f"**/{plane}.png"))[0], picture(0))
    with pytest.raises(DataError, match=rf"{plane}\.png holds uint8 \[24, 32, 3\], not one number per pixel"):
        open_source(tmp_path)[0]


# Plain folders


def test_a_mask_is_found_however_its_suffix_is_written(tmp_path):
    """Some cameras and programs of Windows write it in capitals."""
    save(tmp_path / "images" / "a.JPG", picture(0))
    save(tmp_path / "masks" / "a.PNG", np.eye(HEIGHT, WIDTH, dtype=np.uint8))
    notes = Notes()
    assert open_source(tmp_path, notes)[0].ids.max() == 1 and notes.said == []


def test_a_plain_folder_with_masks(tmp_path):
    for name in ("a.jpg", "b.png", "c.JPG"):
        save(tmp_path / "images" / name, picture(len(name)))
    mask = np.zeros((HEIGHT, WIDTH), np.uint16)
    mask[:5] = 900
    save(tmp_path / "masks" / "a.png", mask)
    save(tmp_path / "masks" / "b.png", (mask > 0).astype(np.uint8))
    notes = Notes()
    source = open_source(tmp_path, notes)
    assert [int(source[index].ids.max()) for index in range(3)] == [900, 1, 0]
    assert source[0].depth is None
    assert notes.said == ["1 of 3 pictures has no mask: none of its objects are mixed"]


def test_a_folder_of_pictures_alone(tmp_path):
    for number in range(3):
        save(tmp_path / f"{number}.jpg", picture(number, height=20 + number))
    (tmp_path / "notes.txt").write_text("not a picture")
    source = open_source(tmp_path)
    assert len(source) == 3 and source[2].rgb.shape == (22, WIDTH, 3) and not source[2].ids.any()


def test_somebody_elses_manifest_does_not_hide_the_pictures(tmp_path):
    save(tmp_path / "a.png", picture(0))
    (tmp_path / "manifest.json").write_text('{"name": "a web page", "icons": ["a.png"]}')
    assert len(open_source(tmp_path)) == 1
    (tmp_path / "manifest.json").write_text('{"request": {"count"')  # damaged, whether ours or not
    with pytest.raises(FileError, match=r"manifest\.json is not valid JSON"):
        open_source(tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_truncated_pictures_are_left_out_and_counted(tmp_path, suffix):
    for number in range(3):
        save(tmp_path / f"{number}.{suffix}", picture(number))
    truncate(tmp_path / f"1.{suffix}")
    (tmp_path / "2.bmp").write_text("no picture at all")
    notes = Notes()
    source = open_source(tmp_path, notes)
    assert len(source) == 2 and "2 of 4" in notes.said[0] and f"1.{suffix}" in notes.said[0]
    for number in (0, 2):
        truncate(tmp_path / f"{number}.{suffix}")
    with pytest.raises(DataError, match="None of the 4"):
        open_source(tmp_path)


def encoded(rgb: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, kind)
    return buffer.getvalue()


def test_pictures_with_more_behind_their_end_or_another_suffix_are_whole(tmp_path):
    film = b"\0\0\0\x18ftypmp42" + bytes(5000)  # as phones store a moving photograph
    (tmp_path / "moving.jpg").write_bytes(encoded(picture(0), "JPEG") + film)
    (tmp_path / "stretched.png").write_bytes(encoded(picture(1), "PNG") + bytes(5000))
    (tmp_path / "png.jpg").write_bytes(encoded(picture(2), "PNG"))
    (tmp_path / "jpeg.png").write_bytes(encoded(picture(3), "JPEG"))
    cut = encoded(picture(4), "JPEG")
    (tmp_path / "zcut.jpg").write_bytes(cut[: len(cut) // 2])
    notes = Notes()
    source = open_source(tmp_path, notes)
    assert len(source) == 4 and source[0].rgb.shape == (HEIGHT, WIDTH, 3)
    assert len(notes.said) == 2 and "1 of 5" in notes.said[0] and "zcut.jpg" in notes.said[0]


@pytest.mark.parametrize(
    "entry",
    [b"\x02\0\x02\0\0\0" + b"6\0\0\0", b"\x03\0\x02\0\0\0" + b"\x06\0\x06\0", b"\x03\0\x01\0\0\0" + b"\x09\0\0\0"],
    ids=["text", "two numbers", "no orientation"],
)
def test_an_orientation_that_makes_no_sense_does_not_part_a_picture_from_its_mask(tmp_path, entry):
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01" + entry + bytes(4)  # one entry: tag 0x0112, type, count, value
    (tmp_path / "images").mkdir()
    Image.fromarray(picture(0)).save(tmp_path / "images/a.jpg", exif=exif)
    shown = read_picture(tmp_path / "images/a.jpg").shape[:2]
    save(tmp_path / "masks/a.png", np.eye(*shown, dtype=np.uint8))
    assert open_source(tmp_path)[0].ids.shape == shown


def test_a_picture_on_its_side_has_a_mask_as_it_is_shown(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    Image.fromarray(picture(0)).save(tmp_path / "images/a.jpg", exif=exif)
    save(tmp_path / "masks/a.png", np.eye(WIDTH, HEIGHT, dtype=np.uint8))
    assert open_source(tmp_path)[0].rgb.shape == (WIDTH, HEIGHT, 3)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_tiff_has_a_mask_as_it_is_shown(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "images").mkdir()
    Image.fromarray(picture(0)).save(tmp_path / "images/a.tiff", exif=exif)
    shown = (WIDTH, HEIGHT) if orientation == 6 else (HEIGHT, WIDTH)
    save(tmp_path / "masks/a.png", np.eye(*shown, dtype=np.uint8))
    read = open_source(tmp_path)[0]
    assert read.rgb.shape[:2] == read.ids.shape == shown
    save(tmp_path / "masks/a.png", np.eye(*shown[::-1], dtype=np.uint8))
    with pytest.raises(DataError, match="differs in size from"):
        open_source(tmp_path)


def test_masks_that_cannot_serve_are_named_at_once(tmp_path):
    save(tmp_path / "images/a.jpg", picture(0))
    mask = save(tmp_path / "masks/a.png", np.zeros((HEIGHT, WIDTH - 1), np.uint8))
    with pytest.raises(DataError, match=r"masks/a\.png \(31x24\) differs in size from .*a\.jpg \(32x24\)"):
        open_source(tmp_path)
    save(mask, picture(1))
    with pytest.raises(DataError, match=r"masks/a\.png is in colour"):
        open_source(tmp_path)
    truncate(mask)
    with pytest.raises(DataError, match=r"masks/a\.png is truncated"):
        open_source(tmp_path)


# Common to all


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


def test_every_layout_is_tested():
    assert set(MAKERS) == set(LAYOUTS)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_each_layout_is_an_image_source(tmp_path, layout):
    root = MAKERS[layout](tmp_path / "set")
    assert next(name for name, known in LAYOUTS.items() if known.matches(root)) == layout
    source = open_source(root)
    with pytest.raises(IndexError):
        source[len(source)]
    np.testing.assert_array_equal(source[-1].rgb, source[len(source) - 1].rgb)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source))[0].ids, source[0].ids)
    assert source[0].rgb.dtype == np.uint8 and source[0].ids.shape == source[0].rgb.shape[:2]
    assert open_source(root).digest == source.digest and len(source.digest) == 64
    framed, ids = FramedImages(source, Framing(16, 16))[1]
    assert framed.shape == (16, 16, 3) and ids.shape == (16, 16)
    always = MixingSettings(probability=1.0, min_area=0.001, max_area=0.9)
    batch = np.stack([framed, framed[::-1]] * 4)
    pastes = plan_batch([object_areas(ids)] * 8, 16, always, np.random.default_rng(0))
    assert (mix_batch(batch, np.stack([ids] * 8), pastes) != batch).any(), "nothing was mixed"


@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) - {"edgekd"}))
def test_the_digest_changes_with_the_files_but_not_with_their_place(tmp_path, layout):
    root = MAKERS[layout](tmp_path / "set")
    before = open_source(root).digest
    moved = root.rename(tmp_path / "elsewhere")
    assert open_source(moved).digest == before
    first = open_source(moved).frames[0].files[0]
    first.unlink()
    assert open_source(moved).digest != before


def test_a_folder_of_no_known_layout_says_which_are_known(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(DataError) as caught:
        open_source(tmp_path)
    assert all(name in str(caught.value) for name in LAYOUTS) and "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"Folder .* not found"):
        open_source(tmp_path / "nothing")
