"""What is kept for a report, and that it reads back the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibration.errors import FileError
from edgekd.bench.gallery import Gallery, Shown


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 255, (2, 6, 8, 3), dtype=np.uint8)
    depth = {"a-fp32": generator.uniform(0.5, 9, (2, 6, 8)).astype(np.float32)}
    made = Gallery(
        Shown(("one", 'two "</script>'), pictures, depth), Shown(("f",), pictures[:1], depth, depth["a-fp32"])
    )
    made.write(tmp_path / "g.npz")
    found = Gallery.read(tmp_path / "g.npz")
    assert found.held_out is not None and found.worst is not None and found.worst.truth is not None
    assert found.held_out.names == ("one", 'two "</script>') and (found.held_out.pictures == pictures).all()
    np.testing.assert_allclose(found.held_out.depth["a-fp32"], depth["a-fp32"], rtol=1e-3)


def test_depth_beyond_what_16_bits_hold_stays_finite(tmp_path: Path) -> None:
    """Of a network without a known unit, for example; what is infinite or NaN stays so."""
    depth = np.array([[[2, 1e5, np.inf, np.nan]]], np.float32)
    pictures = np.zeros((1, 1, 4, 3), np.uint8)
    Gallery(None, Shown(("a",), pictures, {"x": depth}, depth)).write(tmp_path / "a.npz")
    worst = Gallery.read(tmp_path / "a.npz").worst
    assert worst is not None and worst.truth is not None
    for kept in (worst.depth["x"], worst.truth):
        np.testing.assert_array_equal(kept[0, 0], [2, 65504, np.inf, np.nan])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"{}"])
def test_a_damaged_file_is_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "g.npz").write_bytes(content)
    with pytest.raises(FileError, match=r"g\.npz cannot be read"):
        Gallery.read(tmp_path / "g.npz")


def test_another_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "g.npz", about=np.frombuffer(b'{"kind": "other", "note": ""}', np.uint8))
    with pytest.raises(FileError, match="kind 'other'"):
        Gallery.read(tmp_path / "g.npz")
