"""Hypersim: read as it ships, and the messages when it is damaged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from layout_files import HEIGHT, WIDTH, make_hypersim, truncate
from notes import Notes

from calibration.errors import DataError, FileError
from edgekd.simulate.readers import open_source
from edgekd.simulate.readers.hypersim import tone_mapped


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
