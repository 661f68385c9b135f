"""Reading pictures: what each kind of file becomes, and that every error names the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from notes import Notes
from PIL import Image

from calibration.errors import DataError
from edgekd.pictures import list_pictures, read_picture, remark_on_folders

RGB = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tif", ".webp"])
def test_plain_colour_is_unchanged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"p{suffix}"
    Image.fromarray(RGB).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    np.testing.assert_array_equal(read_picture(path), RGB)


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda a: a),
        (3, lambda a: a[::-1, ::-1]),
        (6, lambda a: np.rot90(a, -1)),
        (8, lambda a: np.rot90(a, 1)),
        (2, lambda a: a[:, ::-1]),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_exif_orientation(tmp_path: Path, orientation: int, turn, suffix: str) -> None:  # type: ignore[no-untyped-def]
    exif = Image.Exif()
    exif[0x0112] = orientation
    grey = np.repeat(np.arange(0, 250, 10, dtype=np.uint8).reshape(5, 5), 8, axis=0).repeat(16, axis=1)
    path = tmp_path / f"p{suffix}"
    Image.fromarray(grey).convert("RGB").save(path, exif=exif, quality=95)
    expected = np.repeat(turn(grey)[..., None], 3, axis=2)
    np.testing.assert_allclose(read_picture(path).astype(int), expected.astype(int), atol=6)


def test_grey(tmp_path: Path) -> None:
    Image.fromarray(RGB[..., 0]).save(tmp_path / "g.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "g.png"), RGB[..., :1].repeat(3, axis=2))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_become_the_upper_eight(tmp_path: Path, suffix: str) -> None:
    deep = np.array([[0, 255, 256], [32768, 65280, 65535]], np.uint16)
    path = tmp_path / f"d{suffix}"
    if suffix == ".pgm":  # Pillow 10 reads it but cannot write it
        path.write_bytes(b"P5\n3 2\n65535\n" + deep.astype(">u2").tobytes())
    else:
        Image.fromarray(deep).save(path)
    np.testing.assert_array_equal(read_picture(path)[..., 0], [[0, 0, 1], [128, 255, 255]])


@pytest.mark.parametrize("values", [(-30000, 35535), (0, 255), (0, 1 << 24)])
def test_thirty_two_bits_without_a_white_are_refused(tmp_path: Path, values: tuple[int, int]) -> None:
    Image.fromarray(np.array([values] * 4, np.int32)).save(tmp_path / "w.tif")
    low, high = values
    with pytest.raises(DataError, match=rf"w\.tif holds values from {min(low, 0)} to {high} in 32 bits"):
        read_picture(tmp_path / "w.tif")
    (tmp_path / "dark.pgm").write_bytes(b"P5\n2 1\n65535\n" + np.array([3, 250], ">u2").tobytes())
    assert not read_picture(tmp_path / "dark.pgm").any()  # 16 bits, so dark


def test_transparent_pixels_lie_on_grey(tmp_path: Path) -> None:
    alpha = np.full((5, 7, 1), 255, np.uint8)
    alpha[0, 0] = 0
    Image.fromarray(np.concatenate([RGB, alpha], axis=2)).save(tmp_path / "a.png")
    got = read_picture(tmp_path / "a.png")
    assert got[0, 0].tolist() == [128, 128, 128]
    np.testing.assert_array_equal(got[1:], RGB[1:])


def test_palette_one_bit_and_cmyk(tmp_path: Path) -> None:
    Image.fromarray(RGB).quantize(8).save(tmp_path / "p.png")
    Image.new("1", (4, 3), 1).save(tmp_path / "b.png")
    Image.new("CMYK", (4, 3), (0, 0, 0, 0)).save(tmp_path / "c.tif")
    assert read_picture(tmp_path / "p.png").shape == (5, 7, 3)
    assert (read_picture(tmp_path / "b.png") == 255).all()
    assert (read_picture(tmp_path / "c.tif") == 255).all()


def test_float_pictures_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((3, 3), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(DataError, match=r"f\.tif holds floating-point"):
        read_picture(tmp_path / "f.tif")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif"])
def test_every_truncation_is_one_error_that_names_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    for length in (1, 8, 30, len(whole) // 4, len(whole) // 2, len(whole) - 600):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError) as error:
            read_picture(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_empty_missing_and_no_picture(tmp_path: Path) -> None:
    (tmp_path / "e.png").write_bytes(b"")
    (tmp_path / "n.png").write_text("a note")
    for name, said in (
        ("e.png", "empty"),
        ("n.png", "not a readable picture"),
        ("gone.png", "not found"),
        (".", "not found"),
    ):
        with pytest.raises(DataError, match=said):
            read_picture(tmp_path / name)


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (40, 40)).save(tmp_path / "bomb.png")
    for limit in (1000, 500):  # Pillow warns above the limit and raises above twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match=rf"bomb\.png has more than {limit:,} pixels"):
            read_picture(tmp_path / "bomb.png")


def test_list_pictures(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", ".hidden.png", "note.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_pictures(tmp_path)] == ["a.jpg", "b.PNG"]
    with pytest.raises(DataError, match="No pictures"):
        list_pictures(tmp_path / "folder.png")
    with pytest.raises(DataError, match="not a folder"):
        list_pictures(tmp_path / "a.jpg")


def test_folders_of_pictures_that_are_left_out_are_told_of(tmp_path: Path) -> None:
    notes = Notes()
    for name in ("empty", ".cache", "more"):
        (tmp_path / name).mkdir()
    (tmp_path / "empty" / "note.txt").write_bytes(b"x")
    (tmp_path / ".cache" / "a.png").write_bytes(b"x")
    remark_on_folders(tmp_path, notes)
    assert notes.said == []
    (tmp_path / "more" / "a.png").write_bytes(b"x")
    remark_on_folders(tmp_path, notes)
    assert notes.said == [f"Pictures in subfolders of {tmp_path}, such as more, are skipped"]
