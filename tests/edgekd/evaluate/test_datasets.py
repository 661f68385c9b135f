"""Every layout as it lies on disk, and the messages about damaged or misdescribed data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from calibration.errors import DataError
from edgekd.evaluate.datasets import LAYOUTS, open_dataset

HEADER = "dataset,rgb,depth,depth_units_per_metre\n"


def save_rgb(path: Path, seed: int = 0, size: tuple[int, int] = (6, 8)) -> NDArray[np.uint8]:
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(path)
    return rgb


def save_depth(path: Path, units: float, seed: int = 0, size: tuple[int, int] = (6, 8)) -> NDArray[np.float32]:
    """Depth of 1 to 5 m with a hole at the first pixel, as 16-bit PNG; returns what was stored, in metres."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = (np.random.default_rng(seed).uniform(1, 5, size) * units).astype(np.uint16)
    stored[0, 0] = 0
    Image.fromarray(stored).save(path)
    return (stored / units).astype(np.float32)


def indexed(folder: Path, count: int = 2, units: float = 1000) -> Path:
    lines = []
    for n in range(count):
        save_rgb(folder / f"{n}.png", n)
        save_depth(folder / f"{n}_d.png", units, n)
        lines.append(f"kitchen,{n}.png,{n}_d.png,{units}\n")
    (folder / "index.csv").write_text(HEADER + "".join(lines))
    return folder


def test_index(tmp_path: Path) -> None:
    rgb = save_rgb(tmp_path / "a.png")
    depth = save_depth(tmp_path / "a_d.png", 8000)
    np.save(tmp_path / "b_d.npy", np.array([[np.nan, -1], [np.inf, 2.5]]))
    save_rgb(tmp_path / "b.png", size=(2, 2))
    (tmp_path / "index.csv").write_text(
        "dataset,rgb,depth,depth_units_per_metre,scene\nsun,a.png,a_d.png,8000,\nown,b.png,b_d.npy,1,hall\n"
    )
    for spec in (tmp_path, tmp_path / "index.csv"):
        data = open_dataset(str(spec))
        assert len(data) == 2
        np.testing.assert_array_equal(data[0].rgb, rgb)
        np.testing.assert_allclose(data[0].depth, depth)
        assert data[0].depth.dtype == np.float32 and data[0].depth[0, 0] == 0
        assert (data[0].scene, data[1].scene, data[0].name) == ("sun", "hall", "a.png")
        np.testing.assert_array_equal(data[1].depth, [[0, 0], [0, 2.5]])


def test_an_index_may_have_spaces_after_its_commas(tmp_path: Path) -> None:
    """As many programs and people write it, with quotes or without."""
    save_rgb(tmp_path / "a, b.png")
    depth = save_depth(tmp_path / "d.png", 1000)
    text = 'dataset, rgb, depth , depth_units_per_metre\nkitchen, "a, b.png", d.png, 1000\n'
    (tmp_path / "index.csv").write_text(text)
    (frame,) = [open_dataset(str(tmp_path))[0]]
    np.testing.assert_allclose(frame.depth, depth)
    assert (frame.name, frame.scene) == ("a, b.png", "kitchen")


def test_an_index_is_named_after_its_folder_however_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed(tmp_path)
    monkeypatch.chdir(tmp_path)
    for given in ("index.csv", ".", str(tmp_path)):
        assert open_dataset(given).name == f"{tmp_path.name}/index.csv"


def test_digest_follows_the_bytes_and_the_units(tmp_path: Path) -> None:
    before = open_dataset(str(indexed(tmp_path))).digest
    assert open_dataset(str(tmp_path)).digest == before
    save_depth(tmp_path / "1_d.png", 1000, seed=9)
    changed = open_dataset(str(tmp_path)).digest
    (tmp_path / "index.csv").write_text((tmp_path / "index.csv").read_text().replace("1000", "1001"))
    assert len({before, changed, open_dataset(str(tmp_path)).digest}) == 3


@pytest.mark.parametrize("units", [1, 1_000_000])
def test_wrong_units_name_the_column(tmp_path: Path, units: int) -> None:
    index = indexed(tmp_path) / "index.csv"
    index.write_text(index.read_text().replace("1000", str(units)))
    with pytest.raises(DataError, match=r"median depth of .* depth_units_per_metre in .*index\.csv"):
        open_dataset(str(tmp_path))


def test_wrong_units_are_found_in_one_part_of_an_index(tmp_path: Path) -> None:
    index = indexed(tmp_path, 30) / "index.csv"
    save_rgb(tmp_path / "x.png")
    save_depth(tmp_path / "x_d.png", 1000)
    index.write_text(index.read_text() + "hall,x.png,x_d.png,1\n")
    with pytest.raises(DataError, match=r"x_d\.png"):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "lacks the column dataset, rgb, depth, depth_units_per_metre"),
        (HEADER, "lists no frames"),
        (HEADER + "x,0.png,,1000\n", "line 2 has no depth"),
        (HEADER + "x,0.png,0_d.png,mm\n", "line 2: depth_units_per_metre is 'mm'"),
        (HEADER + "x,0.png,0_d.png,0\n", "'0'"),
        (HEADER + "x,0.png\n", "line 2 has no depth"),
        (HEADER + "x,9.png,0_d.png,1000\n", r"9\.png is listed"),
        ("\x00\x00", "index"),
    ],
)
def test_a_wrong_index_says_where(tmp_path: Path, text: str, said: str) -> None:
    indexed(tmp_path)
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        open_dataset(str(tmp_path))


def test_an_index_of_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_bytes("dataset,rgb\nKüche,1".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        open_dataset(str(tmp_path))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    indexed(tmp_path)
    (tmp_path / "1_d.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1_d\.png is empty"):
        open_dataset(str(tmp_path))
    save_depth(tmp_path / "1_d.png", 1000, size=(5, 8))
    with pytest.raises(DataError, match=r"1\.png is 6x8 and its depth .*1_d\.png 5x8"):
        open_dataset(str(tmp_path))[1]
    save_depth(tmp_path / "1_d.png", 1000)
    data = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"1\.png is truncated"):
        open_dataset(str(tmp_path))[1]


def test_folders(tmp_path: Path) -> None:
    save_rgb(tmp_path / "rgb" / "a.jpg")
    save_rgb(tmp_path / "rgb" / "b.png")
    depth = save_depth(tmp_path / "depth" / "a.png", 1000)
    np.save(tmp_path / "depth" / "b.npy", np.full((6, 8), 2.0))
    data = open_dataset(str(tmp_path))
    assert len(data) == 2 and data[0].scene == tmp_path.name
    np.testing.assert_allclose(data[0].depth, depth)
    assert (data[1].depth == 2).all()
    (tmp_path / "depth" / "._a.png").write_bytes(b"what a Mac leaves beside a file")
    (tmp_path / "manifest.json").write_text('{"made by": "somebody else"}')
    assert len(open_dataset(str(tmp_path))) == 2
    save_rgb(tmp_path / "rgb" / "c.png")
    with pytest.raises(DataError, match=r"c\.png has no match in .*depth"):
        open_dataset(str(tmp_path))


def test_kitti_selection(tmp_path: Path) -> None:
    root = tmp_path / "val_selection_cropped"
    drive = "2011_09_26_drive_0002_sync"
    rgb = save_rgb(root / "image" / f"{drive}_image_0000000005_image_02.png")
    depth = save_depth(root / "groundtruth_depth" / f"{drive}_groundtruth_depth_0000000005_image_02.png", 256)
    for spec in (root, tmp_path):
        data = open_dataset(str(spec))
        np.testing.assert_array_equal(data[0].rgb, rgb)
        np.testing.assert_allclose(data[0].depth, depth)
        assert data[0].scene == drive
    (root / "groundtruth_depth" / f"{drive}_groundtruth_depth_0000000005_image_02.png").unlink()
    with pytest.raises(DataError, match="groundtruth_depth_0000000005"):
        open_dataset(str(root))


@pytest.mark.parametrize("raw", ["", "raw"])
@pytest.mark.parametrize("annotated", ["", "data_depth_annotated"])
def test_kitti_annotated(tmp_path: Path, raw: str, annotated: str) -> None:
    drive = "2011_09_26_drive_0002_sync"
    rgb = save_rgb(tmp_path / raw / "2011_09_26" / drive / "image_03" / "data" / "0000000005.png")
    folder = tmp_path / annotated / "val" / drive / "proj_depth" / "groundtruth" / "image_03"
    depth = save_depth(folder / "0000000005.png", 256)
    data = open_dataset(str(tmp_path))
    np.testing.assert_array_equal(data[0].rgb, rgb)
    np.testing.assert_allclose(data[0].depth, depth)
    assert (data[0].scene, data[0].name) == (drive, f"{drive}/image_03/0000000005")
    assert "652" in data.note
    save_depth(folder / "0000000006.png", 256)
    with pytest.raises(DataError, match=r"0000000006\.png is listed"):
        open_dataset(str(tmp_path))


def nyu(path: Path, count: int = 4) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Writes the labelled set as MATLAB does: axes reversed, scene names behind references."""
    h5py = pytest.importorskip("h5py")
    generator = np.random.default_rng(0)
    rgb = generator.integers(0, 255, (count, 12, 16, 3), dtype=np.uint8)
    depth = generator.uniform(1, 9, (count, 12, 16)).astype(np.float32)
    depth[:, 0, 0] = np.nan
    with h5py.File(path, "w") as file:
        file["images"] = rgb.transpose(0, 3, 2, 1)
        file["depths"] = depth.transpose(0, 2, 1)
        references = file.create_dataset("scenes", (1, count), h5py.ref_dtype)
        for n in range(count):
            file[f"#refs#/{n}"] = np.array([[ord(letter)] for letter in f"room_{n // 2}"], np.uint16)
            references[0, n] = file[f"#refs#/{n}"].ref
    return rgb, depth


def test_nyu(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    path = tmp_path / "nyu_depth_v2_labeled.mat"
    rgb, depth = nyu(path)
    data = open_dataset(str(path))
    assert len(data) == 4 and "all frames: no splits.mat" in data.note
    np.testing.assert_array_equal(data[2].rgb, rgb[2])
    np.testing.assert_array_equal(data[2].depth[1:], depth[2, 1:])
    assert data[2].depth[0, 0] == 0 and data[2].scene == "room_1"
    every = data.digest
    scipy_io.savemat(tmp_path / "splits.mat", {"testNdxs": np.array([[2], [4]])})
    data = open_dataset(str(tmp_path))
    assert len(data) == 2 and "test split" in data.note and data.digest != every
    np.testing.assert_array_equal(data[1].rgb, rgb[3])
    scipy_io.savemat(tmp_path / "splits.mat", {"testNdxs": np.array([[5]])})
    with pytest.raises(DataError, match="frames that the data does not contain"):
        open_dataset(str(path))


def test_nyu_damaged(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "nyu.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file, cut off")
    with pytest.raises(DataError, match=r"nyu\.mat is truncated or not an HDF5"):
        open_dataset(str(path))
    with h5py.File(path, "w") as file:
        file["other"] = np.zeros(3)
    with pytest.raises(DataError, match="'images'"):
        open_dataset(str(path))


def test_simulated(tmp_path: Path) -> None:
    pytest.importorskip("embreex", reason="embreex renders the simulated set")
    from calibration.progress import Quiet
    from edgekd.simulate.rooms import RoomSettings
    from edgekd.simulate.store import write_set

    settings = RoomSettings(height=24, width=32)
    kept = write_set(tmp_path / "d", settings, seed=1, count=2, workers=1, keep_depth=True, progress=Quiet())
    data = open_dataset(str(tmp_path / "d"))
    assert len(data) == 2 and data.digest == kept.digest
    image = kept[1]
    assert image.depth is not None
    np.testing.assert_array_equal(data[1].rgb, image.rgb)
    np.testing.assert_array_equal(data[1].depth, image.depth)
    assert data[0].scene == "room 0"
    write_set(tmp_path / "n", settings, seed=1, count=1, workers=1, keep_depth=False, progress=Quiet())
    with pytest.raises(DataError, match="without depth"):
        open_dataset(str(tmp_path / "n"))


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Data not found"):
        open_dataset(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="Data not found"):
        open_dataset("~nobody-of-that-name/pairs")
    with pytest.raises(DataError, match="Data not found"):
        open_dataset("x" * 300)  # a name too long for the file system
    save_rgb(tmp_path / "some.png")
    with pytest.raises(DataError) as error:
        open_dataset(str(tmp_path))
    assert all(name in str(error.value) for name in LAYOUTS)
    with pytest.raises(DataError, match="unsupported layout"):
        open_dataset(str(tmp_path / "some.png"))


@pytest.mark.skipif("EDGEKD_SHARED" not in os.environ, reason="EDGEKD_SHARED names no folder with real frames")
def test_real_frames() -> None:
    data = open_dataset(str(Path(os.environ["EDGEKD_SHARED"]) / "real"))
    assert len(data) == 109
    for index in (0, 2, 5, 60):
        frame = data[index]
        assert frame.rgb.shape[:2] == frame.depth.shape
        assert 0.5 < np.median(frame.depth[frame.depth > 0]) < 6
    assert {data[index].scene for index in (0, 2, 9)} == {"sun", "nyu", "7scenes"}


def test_faults_of_an_index_are_told_by_the_line_of_the_file(tmp_path: Path) -> None:
    index = indexed(tmp_path) / "index.csv"
    index.write_text(f"{HEADER}\n\nx,0.png,,1000\n")
    with pytest.raises(DataError, match="line 4 has no depth"):
        open_dataset(str(tmp_path))
    index.write_text(f"{HEADER}x,{'long' * 100}.png,0_d.png,1000\n")
    with pytest.raises(DataError, match="is listed in"):
        open_dataset(str(tmp_path))
    with pytest.raises(DataError, match="is empty"):
        open_dataset("")


def test_files_that_differ_in_the_suffix_alone_are_not_guessed_between(tmp_path: Path) -> None:
    for part in ("rgb", "depth"):
        (tmp_path / part).mkdir()
    save_rgb(tmp_path / "rgb" / "a.png")
    save_rgb(tmp_path / "rgb" / "a.jpg")
    save_depth(tmp_path / "depth" / "a.png", 1000)
    with pytest.raises(DataError, match=r"a\.jpg and a\.png differ only in the suffix"):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_picture_that_is_turned_by_its_metadata_has_a_depth_that_may_not_be(tmp_path: Path, orientation: int) -> None:
    indexed(tmp_path)
    with Image.open(tmp_path / "0.png") as picture:
        exif = picture.getexif()
        exif[0x0112] = orientation
        picture.save(tmp_path / "0.png", exif=exif)
    with pytest.raises(DataError, match="EXIF orientation"):
        open_dataset(str(tmp_path))[0]
