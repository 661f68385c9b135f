"""Contact sheets show every picture, its depth and its ids."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.errors import DataError
from edgekd.simulate.preview import contact_sheet
from edgekd.simulate.sample import SimulatedImage


def image(colour: int, depth: float | None, height: int = 20) -> SimulatedImage:
    ids = np.zeros((height, 30), np.uint16)
    ids[5:10, 5:10], ids[12:15, 20:25] = 1, 300
    plane = None if depth is None else np.full((height, 30), depth, np.float32)
    return SimulatedImage(np.full((height, 30, 3), colour, np.uint8), ids, plane)


def test_each_picture_is_shown_with_its_depth_and_ids():
    sheet = contact_sheet([image(200, 1.0), image(100, 4.0), image(50, 8.0)], columns=2)
    assert sheet.dtype == np.uint8 and sheet.ndim == 3
    assert sheet.shape[0] > 40 and sheet.shape[1] > 2 * 3 * 30
    for colour in (200, 100, 50):
        assert (sheet == colour).all(axis=2).sum() >= 20 * 30
    half = sheet.shape[1] // 2
    near, far = sheet[6:26, 42:62].mean(), sheet[6:26, half + 40 : half + 60].mean()
    assert near > far + 30, "near is bright"


def test_objects_have_colours_of_their_own_and_the_room_is_dark():
    sheet = contact_sheet([image(0, None)], columns=1)
    ids = sheet[6:26, -36:-6]
    assert len(np.unique(ids.reshape(-1, 3), axis=0)) == 3
    assert ids[0, 0].max() < 90 < ids[7, 7].max()


def test_what_cannot_be_shown_is_refused():
    with pytest.raises(DataError, match="pictures"):
        contact_sheet([], columns=3)
    with pytest.raises(DataError, match="one size"):
        contact_sheet([image(1, None), image(1, None, height=21)], columns=2)
