from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.errors import UsageError
from edgekd.distill.mixing import Paste, mix_batch, object_areas, plan_batch
from edgekd.distill.settings import MixingSettings


def scene(value: int) -> tuple[np.ndarray, np.ndarray]:
    """A flat picture with one 6x5 object, id 7, of another colour."""
    rgb = np.full((20, 30, 3), value, np.uint8)
    ids = np.zeros((20, 30), np.uint16)
    rgb[8:14, 10:15] = value + 100
    ids[8:14, 10:15] = 7
    return rgb, ids


def mixed_batch(images: np.ndarray, ids: np.ndarray, settings: MixingSettings, seed: int) -> np.ndarray:
    pastes = plan_batch([object_areas(one) for one in ids], images.shape[2], settings, np.random.default_rng(seed))
    return mix_batch(images, ids, pastes)


def mix(image: np.ndarray, other: np.ndarray, other_ids: np.ndarray, settings: MixingSettings) -> np.ndarray:
    """`image`, which has no objects of its own, with objects of `other`."""
    settings = replace(settings, probability=1.0)
    return mixed_batch(np.stack([image, other]), np.stack([np.zeros_like(other_ids), other_ids]), settings, seed=0)[0]


def test_a_pasted_object_keeps_its_pixels_and_its_rows() -> None:
    image, _ = scene(10)
    other, ids = scene(50)
    mixed = mix(image, other, ids, MixingSettings())
    pasted = (mixed == 150).all(-1)
    rows, columns = np.nonzero(pasted)
    assert set(rows) == set(range(8, 14))
    assert len(set(columns)) == 5
    # Nothing of the other picture's room is copied, and all other pixels are unchanged.
    assert not (mixed == 50).any()
    assert (mixed[~pasted] == image[~pasted]).all()


def test_the_room_is_never_cut_out_and_the_picture_is_not_changed_in_place() -> None:
    image, _ = scene(10)
    other, ids = scene(50)
    before = image.copy()
    assert (mix(image, other, np.zeros_like(ids), MixingSettings()) == image).all()
    mix(image, other, ids, MixingSettings())
    assert (image == before).all()


@pytest.mark.parametrize("settings", [MixingSettings(min_area=0.06), MixingSettings(min_area=0, max_area=0.04)])
def test_objects_outside_the_area_limits_stay_where_they_are(settings: MixingSettings) -> None:
    image, _ = scene(10)
    other, ids = scene(50)  # the object covers 30 of 600 pixels: 0.05
    assert (mix(image, other, ids, settings) == image).all()


def test_probability_decides_how_many_of_a_batch_are_mixed() -> None:
    pairs = [scene(10 + i) for i in range(40)]
    images, ids = np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
    changed = {}
    for probability in (0.25, 1.0):
        mixed = mixed_batch(images, ids, MixingSettings(probability=probability), seed=3)
        changed[probability] = int((mixed != images).any((1, 2, 3)).sum())
    assert changed[1.0] == 40
    assert 4 <= changed[0.25] <= 17


def test_one_to_three_objects_of_the_next_image_move_a_third_of_the_width_to_either_side() -> None:
    """In each image the room and nine objects cover a tenth of the picture each."""
    ids = np.arange(10, dtype=np.uint16).repeat(6).reshape(6, 10)
    areas = [object_areas(ids)] * 200
    pastes = plan_batch(areas, 90, MixingSettings(probability=1.0), np.random.default_rng(0))
    assert all(paste.giver == (paste.receiver + 1) % 200 for paste in pastes)
    received = [[paste.object_id for paste in pastes if paste.receiver == image] for image in range(200)]
    assert {len(objects) for objects in received} == {1, 2, 3}
    assert all(len(set(objects)) == len(objects) for objects in received)
    assert {number for objects in received for number in objects} == {*range(1, 10)}  # never 0, the room
    shifts = [paste.shift for paste in pastes]
    assert -30 <= min(shifts) < -25 and 25 < max(shifts) <= 30 and abs(np.mean(shifts)) < 4


@pytest.mark.parametrize(
    ("shift", "columns"), [(5, range(15, 20)), (-5, range(5, 10)), (17, range(27, 30)), (-12, range(3))]
)
def test_an_object_moves_by_its_shift_and_what_leaves_the_picture_is_lost(shift: int, columns: range) -> None:
    (image, _), (other, ids) = scene(10), scene(50)
    mixed = mix_batch(
        np.stack([image, other]), np.stack([ids, ids]), [Paste(receiver=0, giver=1, object_id=7, shift=shift)]
    )
    _, seen = np.nonzero((mixed[0] == 150).all(-1))
    assert sorted(set(seen)) == list(columns) and len(seen) == 6 * len(columns)
    assert (mixed[1] == other).all()


@pytest.mark.parametrize("bad", [{"probability": 0}, {"max_objects": 0}, {"min_area": 0.5, "max_area": 0.2}])
def test_settings_that_cannot_be_meant_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        MixingSettings(**bad)  # type: ignore[arg-type]
