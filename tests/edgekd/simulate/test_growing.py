"""Sets that are used while they are rendered."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.errors import DataError
from calibration.progress import Quiet
from edgekd.simulate.growing import GrowingSet
from edgekd.simulate.rooms import RoomSettings, render
from edgekd.simulate.store import write_set

SETTINGS = RoomSettings(height=48, width=64, views_per_room=4)


def grow(folder, *, count: int = 70, workers: int = 1) -> GrowingSet:
    return GrowingSet(folder, SETTINGS, seed=3, count=count, workers=workers, keep_depth=False)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_picture_is_waited_for_and_is_the_one_of_its_number(tmp_path, workers):
    images = grow(tmp_path / "set", workers=workers)
    try:
        assert len(images) == 70
        last = images[69]  # from the last shard, which does not exist yet
        assert images.waited > 0
        np.testing.assert_array_equal(last.ids, render(SETTINGS, 3, 69).ids)
        np.testing.assert_array_equal(images[-1].rgb, last.rgb)
    finally:
        images.close()
    whole = write_set(
        tmp_path / "set", SETTINGS, seed=3, count=70, workers=1, keep_depth=False, progress=Quiet()
    )  # everything is already there
    np.testing.assert_array_equal(whole[69].rgb, last.rgb)


def test_what_was_finished_when_it_was_closed_is_kept_and_gone_on_with(tmp_path):
    images = grow(tmp_path / "set", count=4000)
    first = images[0].rgb
    images.close()
    shards = sorted((tmp_path / "set").glob("*.tar"))
    assert 1 <= len(shards) < 20
    made = shards[0].stat().st_mtime_ns
    with pytest.raises(RuntimeError, match="closed"):
        images[3999]
    again = grow(tmp_path / "set", count=4000)
    np.testing.assert_array_equal(again[0].rgb, first)
    again.close()
    assert shards[0].stat().st_mtime_ns == made
    assert again.digest == images.digest


def test_an_error_of_the_rendering_reaches_whoever_asks_for_a_picture(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "letter.txt").write_text("not a set")
    images = grow(tmp_path / "set")
    with pytest.raises(DataError, match="holds other files"):
        images[5]
    images.close()
