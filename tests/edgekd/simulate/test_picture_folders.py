"""Folders of pictures with or without masks: which are whole, how they are turned, and which masks cannot serve."""

from __future__ import annotations

import io

import numpy as np
import pytest
from layout_files import HEIGHT, WIDTH, picture, save, truncate
from notes import Notes
from PIL import Image

from calibration.errors import DataError, FileError
from edgekd.pictures import read_picture
from edgekd.simulate.readers import open_source


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
