"""Depth files: written values come back in metres, and a file that is not depth is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration.errors import DataError
from edgekd.evaluate.datasets.depth import read_depth

STORED = np.array([[0, 1, 1000], [2500, 9000, 65535]], np.uint16)


def pgm(path: Path, values: np.ndarray, maximum: int, header: str = "P5 {w} {h} {m}\n") -> Path:
    height, width = values.shape
    path.write_bytes(header.format(w=width, h=height, m=maximum).encode() + values.astype(">u2").tobytes())
    return path


def test_png(tmp_path: Path) -> None:
    Image.fromarray(STORED).save(tmp_path / "d.png")
    np.testing.assert_allclose(read_depth(tmp_path / "d.png", 1000), STORED / 1000, rtol=1e-6)
    np.testing.assert_allclose(read_depth(tmp_path / "d.png", 256), STORED / 256, rtol=1e-6)


@pytest.mark.parametrize("maximum", [65535, 10000, 9001])
def test_pgm_is_not_stretched_to_its_maximum(tmp_path: Path, maximum: int) -> None:
    values = np.minimum(STORED, maximum)
    path = pgm(tmp_path / "d.pgm", values, maximum)
    np.testing.assert_allclose(read_depth(path, 1000), values / 1000, rtol=1e-6)


def test_pgm_header_with_comments(tmp_path: Path) -> None:
    path = pgm(tmp_path / "d.pgm", STORED, 65535, "P5\n# a camera 12\n{w}\n{h} # and more\n{m}\n")
    np.testing.assert_allclose(read_depth(path, 1000), STORED / 1000, rtol=1e-6)


def test_pgm_whose_first_value_looks_like_white_space(tmp_path: Path) -> None:
    values = np.full((2, 2), 0x2020, np.uint16)
    assert (read_depth(pgm(tmp_path / "d.pgm", values, 65535), 1) == 0x2020).all()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("d.pgm", b"P5 4 4 65535\n" + b"\0" * 31, "31 of 32 bytes"),
        ("d.pgm", b"P5 4 4 255\n" + b"\0" * 16, "16 bits"),
        ("d.pgm", b"P2 1 1 65535\n7", "not a binary PGM"),
        ("d.pgm", b"P5 4", "not a binary PGM"),
        ("d.pgm", b"#", "not a binary PGM"),
        ("d.png", b"\x89PNG\r\n\x1a\n", "truncated|not a readable picture"),
        ("d.npy", b"\x93NUMPY", "truncated"),
        ("d.npy", b"", "empty"),
        ("d.exr", b"x", "not a readable depth file"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said) as error:
        read_depth(tmp_path / name, 1000)
    assert name in str(error.value)


def test_what_is_not_depth(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "colour.png")
    Image.new("L", (4, 4)).save(tmp_path / "eight.png")
    np.save(tmp_path / "eight.npy", np.full((4, 4), 128, np.uint8))
    np.save(tmp_path / "three.npy", np.zeros((2, 3, 3)))
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    for name in ("colour.png", "eight.png", "eight.npy", "three.npy", "pickled.npy", "missing.png"):
        with pytest.raises(DataError, match=name):
            read_depth(tmp_path / name, 1000)


def test_holes_of_every_kind_are_zero(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.array([[np.nan, np.inf, -np.inf], [-1, 0, 1e300]]))
    assert (read_depth(tmp_path / "d.npy", 1) == 0).all()
