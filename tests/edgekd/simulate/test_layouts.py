"""What holds for every layout of pictures: an image source with a digest, and a message where there is none."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from layout_files import MAKERS, make_scenenet, make_virtual_kitti, picture, save

from calibration.errors import DataError
from edgekd.distill.framed_images import FramedImages
from edgekd.distill.mixing import mix_batch, object_areas, plan_batch
from edgekd.distill.settings import MixingSettings
from edgekd.simulate.readers import LAYOUTS, open_source
from targets.input import Framing


@pytest.mark.parametrize(
    ("make", "plane"),
    [
        (make_virtual_kitti, "depth_00000"),
        (make_virtual_kitti, "instancegt_00000"),
        (make_scenenet, "depth/0"),
        (make_scenenet, "instance/0"),
    ],
)
def test_planes_in_colour_are_named(tmp_path, make, plane):
    make(tmp_path)
    save(sorted(tmp_path.glob(f"**/{plane}.png"))[0], picture(0))
    with pytest.raises(DataError, match=rf"{plane}\.png holds uint8 \[24, 32, 3\], not one number per pixel"):
        open_source(tmp_path)[0]


def test_every_layout_is_tested():
    assert set(MAKERS) == set(LAYOUTS)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_each_layout_is_an_image_source(tmp_path, layout):
    root = MAKERS[layout](tmp_path / "set")
    assert next(name for name, known in LAYOUTS.items() if known.matches(root)) == layout
    source = open_source(root)
    with pytest.raises(IndexError):
        source[len(source)]
    np.testing.assert_array_equal(source[-1].rgb, source[len(source) - 1].rgb)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source))[0].ids, source[0].ids)
    assert source[0].rgb.dtype == np.uint8 and source[0].ids.shape == source[0].rgb.shape[:2]
    assert open_source(root).digest == source.digest and len(source.digest) == 64
    framed, ids = FramedImages(source, Framing(16, 16))[1]
    assert framed.shape == (16, 16, 3) and ids.shape == (16, 16)
    always = MixingSettings(probability=1.0, min_area=0.001, max_area=0.9)
    batch = np.stack([framed, framed[::-1]] * 4)
    pastes = plan_batch([object_areas(ids)] * 8, 16, always, np.random.default_rng(0))
    assert (mix_batch(batch, np.stack([ids] * 8), pastes) != batch).any(), "nothing was mixed"


@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) - {"edgekd"}))
def test_the_digest_changes_with_the_files_but_not_with_their_place(tmp_path, layout):
    root = MAKERS[layout](tmp_path / "set")
    before = open_source(root).digest
    moved = root.rename(tmp_path / "elsewhere")
    assert open_source(moved).digest == before
    first = open_source(moved).frames[0].files[0]
    first.unlink()
    assert open_source(moved).digest != before


def test_a_folder_of_no_known_layout_says_which_are_known(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(DataError) as caught:
        open_source(tmp_path)
    assert all(name in str(caught.value) for name in LAYOUTS) and "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"Folder .* not found"):
        open_source(tmp_path / "nothing")
