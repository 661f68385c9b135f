"""Virtual KITTI 2: read as it ships, whole or by one of its archives, and the message when its masks are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layout_files import make_virtual_kitti

from calibration.errors import DataError
from edgekd.simulate.readers import open_source


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("spelling", ["instanceSegmentation", "instancesegmentation"])
def test_virtual_kitti_is_read_as_it_ships(tmp_path, apart, spelling):
    source = open_source(make_virtual_kitti(tmp_path, apart=apart, spelling=spelling))
    assert len(source) == 3
    image = source[2]
    assert set(np.unique(image.ids)) == {0, 1, 7} and (image.ids[10:, 20:] == 7).all()
    assert image.depth[5, 5] == pytest.approx(12.34) and image.depth[0, 0] == pytest.approx(655.35)


def test_virtual_kitti_may_be_named_by_one_of_its_archives(tmp_path, monkeypatch):
    make_virtual_kitti(tmp_path, apart=True)
    monkeypatch.chdir(tmp_path / "vkitti_2.0.3_rgb/Scene01")
    digests = set()
    for path in (tmp_path / "vkitti_2.0.3_rgb", Path("..")):
        source = open_source(path)
        assert len(source) == 3 and source[0].depth is not None
        digests.add(source.digest)
    assert len(digests) == 1


def test_virtual_kitti_without_its_masks_says_which_file_is_missing(tmp_path):
    make_virtual_kitti(tmp_path)
    for path in tmp_path.glob("**/instancegt_*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"Virtual KITTI 2.*instancegt_00000\.png is missing"):
        open_source(tmp_path)
