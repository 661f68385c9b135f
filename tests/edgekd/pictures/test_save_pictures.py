"""Saved pictures and depth, read back by Pillow and NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration.errors import DataError, FileError, UsageError
from edgekd.evaluate.datasets.depth import read_depth
from edgekd.pictures import save_depth, save_png

DEPTH = np.array([[0, np.nan, -1, np.inf], [0.0004, 1.2344, 65.535, 70]], np.float32)


def test_png(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    save_png(tmp_path / "new" / "p.png", rgb)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new" / "p.png")), rgb)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["p.png"]


def test_depth_png_is_millimetres_and_says_so(tmp_path: Path) -> None:
    save_depth(tmp_path / "d.png", DEPTH)
    with Image.open(tmp_path / "d.png") as picture:
        assert picture.text == {"Unit": "millimetre", "Invalid": "0"}  # type: ignore[attr-defined]
        np.testing.assert_array_equal(np.asarray(picture), [[0, 0, 0, 0], [1, 1234, 65535, 0]])
    assert read_depth(tmp_path / "d.png", 1000)[1, 1] == pytest.approx(1.234)


def test_depth_npy_is_unchanged(tmp_path: Path) -> None:
    save_depth(tmp_path / "d.npy", DEPTH)
    back = np.load(tmp_path / "d.npy")
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, DEPTH)


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="jpg"):
        save_depth(tmp_path / "d.jpg", DEPTH)
    with pytest.raises(DataError):
        save_depth(tmp_path / "d.png", DEPTH[None])
    with pytest.raises(DataError):
        save_png(tmp_path / "p.png", DEPTH)  # type: ignore[arg-type]
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(FileError):
        save_png(tmp_path / "folder.png", np.zeros((2, 2, 3), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]
