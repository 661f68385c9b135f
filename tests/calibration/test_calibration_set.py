from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.errors import DataError, FileError
from calibration.images import CalibrationSet


def noise(count: int, height: int = 6, width: int = 8) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    CalibrationSet.write(tmp_path / "set", noise(20), origin="noise", made_from={"teacher": "ab"})
    return tmp_path / "set"


class TestStore:
    def test_reads_back_what_was_written(self, folder: Path) -> None:
        opened = CalibrationSet.open(folder)
        assert np.array_equal(opened.images, noise(20))
        assert (opened.count, opened.height, opened.width) == (20, 6, 8)
        assert (opened.origin, opened.made_from) == ("noise", {"teacher": "ab"})

    def test_pixels_stay_on_disk_and_cannot_be_changed(self, folder: Path) -> None:
        images = CalibrationSet.open(folder).images
        assert isinstance(images, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            images[0] = 0

    def test_the_same_pictures_have_the_same_digest_wherever_they_lie(self, folder: Path, tmp_path: Path) -> None:
        again = CalibrationSet.write(tmp_path / "b", noise(20), origin="noise", made_from={"teacher": "ab"})
        assert again.digest == CalibrationSet.open(folder).digest

    @pytest.mark.parametrize(
        "change", [{"origin": "other"}, {"made_from": {"teacher": "cd"}}, {"images": noise(20)[::-1]}]
    )
    def test_anything_else_changes_the_digest(self, folder: Path, tmp_path: Path, change: dict) -> None:
        asked = {"images": noise(20), "origin": "noise", "made_from": {"teacher": "ab"}, **change}
        other = CalibrationSet.write(tmp_path / "b", asked.pop("images"), **asked)
        assert other.digest != CalibrationSet.open(folder).digest

    def test_writing_again_replaces_the_whole_set(self, folder: Path) -> None:
        CalibrationSet.write(folder, noise(3), origin="fewer", made_from={})
        assert CalibrationSet.open(folder).count == 3
        assert [path.name for path in folder.parent.iterdir()] == ["set"]


class TestAlteredSet:
    @pytest.mark.parametrize("name", ["images.npy", "calibration.json"])
    def test_missing_file_is_named(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        with pytest.raises(FileError, match=f"{name} is missing"):
            CalibrationSet.open(folder)

    def test_one_changed_pixel_is_found(self, folder: Path) -> None:
        content = bytearray((folder / "images.npy").read_bytes())
        content[-1] ^= 1
        (folder / "images.npy").write_bytes(content)
        with pytest.raises(FileError, match=r"images\.npy was altered"):
            CalibrationSet.open(folder)

    def test_truncated_pictures_are_found(self, folder: Path) -> None:
        content = (folder / "images.npy").read_bytes()
        (folder / "images.npy").write_bytes(content[:-50])
        with pytest.raises(FileError, match=r"images\.npy"):
            CalibrationSet.open(folder)

    def test_changed_description_is_found(self, folder: Path) -> None:
        value = json.loads((folder / "calibration.json").read_text())
        value["origin"] = "real pictures"
        (folder / "calibration.json").write_text(json.dumps(value))
        with pytest.raises(FileError, match=r"calibration\.json was altered"):
            CalibrationSet.open(folder)

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"count": "many"}'])
    def test_unreadable_description_is_one_error(self, folder: Path, content: str) -> None:
        (folder / "calibration.json").write_text(content)
        with pytest.raises(FileError, match=r"calibration\.json"):
            CalibrationSet.open(folder)


class TestRefusedPictures:
    @pytest.mark.parametrize(
        ("images", "reason"),
        [
            (np.zeros((0, 6, 8, 3), np.uint8), "empty"),
            (np.zeros((5, 6, 8, 3), np.uint8), "black"),
            (np.full((5, 6, 8, 3), 90, np.uint8), "single colour"),
            (np.repeat(noise(1), 5, axis=0), "one picture, 5 times"),
            (noise(1), "one picture"),
            (noise(4).astype(np.float32), "float32"),
            (noise(4)[..., :1], "uint8"),
            (noise(4)[0], "uint8"),
        ],
        ids=["empty", "black", "grey", "repeated", "single", "float", "one-channel", "one-picture"],
    )
    def test_refused_before_anything_is_written(self, tmp_path: Path, images: np.ndarray, reason: str) -> None:
        with pytest.raises(DataError, match=reason):
            CalibrationSet.write(tmp_path / "set", images, origin="", made_from={})
        assert not list(tmp_path.iterdir())

    def test_pictures_of_a_single_column_are_measured(self, tmp_path: Path) -> None:
        CalibrationSet.write(tmp_path / "set", noise(4, 9, 1), origin="", made_from={})

    def test_other_resolution_than_the_model_is_refused(self, folder: Path) -> None:
        opened = CalibrationSet.open(folder)
        opened.require_size(6, 8)
        with pytest.raises(DataError, match=r"6x8.*8x6"):
            opened.require_size(8, 6)


class TestSplit:
    def test_every_eighth_is_held_out_and_none_is_in_both(self, folder: Path) -> None:
        calibrating, held_out = CalibrationSet.open(folder).split()
        assert np.array_equal(held_out, noise(20)[[7, 15]])
        assert len(calibrating) == 18
        assert not {image.tobytes() for image in held_out} & {image.tobytes() for image in calibrating}

    def test_a_small_set_is_used_twice(self, tmp_path: Path) -> None:
        small = CalibrationSet.write(tmp_path / "small", noise(15), origin="", made_from={})
        calibrating, held_out = small.split()
        assert len(calibrating) == len(held_out) == 15
