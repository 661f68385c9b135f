"""One frame of a side-by-side video: what stands where, in which colours."""

from __future__ import annotations

import numpy as np

from edgekd.video import SideBySide

LINE = 22


def test_a_large_frame_is_shown_smaller_and_a_small_one_as_it_is() -> None:
    scene = SideBySide(1, 4)
    for height, width, shown in ((960, 640, (480, 320)), (120, 200, (120, 200))):
        drawn = scene.draw(np.zeros((height, width, 3), np.uint8), np.ones((height, width)), "")
        assert (drawn.shape[0] - LINE, (drawn.shape[1] - 64) // 2) == shown


def test_depth_is_never_blended_across_an_edge() -> None:
    depth = np.where(np.arange(900)[None, :] % 50 < 25, 1.0, 4.0) * np.ones((960, 1))
    drawn = SideBySide(1, 4).draw(np.zeros((960, 900, 3), np.uint8), depth, "")
    colours = np.unique(drawn[LINE:, 450:900].reshape(-1, 3), axis=0)
    assert len(colours) == 2


def test_a_wall_keeps_its_colour_whatever_else_is_in_the_frame_and_the_line_is_written() -> None:
    picture, scene = np.full((120, 200, 3), 90, np.uint8), SideBySide(1, 4)
    walls = []
    for beside in (1.0, 3.9):
        depth = np.full((120, 200), 2.0)
        depth[:, 100:] = beside
        walls.append(scene.draw(picture, depth, "")[LINE:, 200:300])
    np.testing.assert_array_equal(*walls)
    sea = SideBySide(1, 4, "sea").draw(picture, np.full((120, 200), 2.0), "onnxruntime-int8   5.0 ms per frame")
    assert (sea[LINE:, :200] == 90).all() and not np.array_equal(sea[LINE:, 200:300], walls[0])
    assert sea[:LINE, :300].min() < 100  # dark letters
    assert scene.draw(picture, np.full((120, 200), 2.0), "")[:LINE].min() > 200
