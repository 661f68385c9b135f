"""SceneNet RGB-D: read as it ships, and the messages when it is damaged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from layout_files import HEIGHT, WIDTH, make_scenenet, save, truncate
from notes import Notes
from PIL import Image

from calibration.errors import DataError, EdgekdError, FileError
from edgekd.simulate.readers import open_source


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
