from __future__ import annotations

import numpy as np
import pytest

from calibration.errors import UsageError
from edgekd.distill.mixing import mix, mix_batch
from edgekd.distill.settings import MixingSettings


def scene(value: int) -> tuple[np.ndarray, np.ndarray]:
    """A flat picture with one 6x5 object, id 7, of another colour."""
    rgb = np.full((20, 30, 3), value, np.uint8)
    ids = np.zeros((20, 30), np.uint16)
    rgb[8:14, 10:15] = value + 100
    ids[8:14, 10:15] = 7
    return rgb, ids


def test_a_pasted_object_keeps_its_pixels_and_its_rows() -> None:
    image, _ = scene(10)
    other, ids = scene(50)
    mixed = mix(image, other, ids, MixingSettings(), np.random.default_rng(0))
    pasted = (mixed == 150).all(-1)
    rows, columns = np.nonzero(pasted)
    assert set(rows) == set(range(8, 14))
    assert len(set(columns)) == 5
    # Nothing of the other picture's room came along, and all else is as it was.
    assert not (mixed == 50).any()
    assert (mixed[~pasted] == image[~pasted]).all()


def test_the_room_is_never_cut_out_and_the_picture_is_not_changed_in_place() -> None:
    image, _ = scene(10)
    other, ids = scene(50)
    before = image.copy()
    assert mix(image, other, np.zeros_like(ids), MixingSettings(), np.random.default_rng(0)) is image
    mix(image, other, ids, MixingSettings(), np.random.default_rng(0))
    assert (image == before).all()


@pytest.mark.parametrize("settings", [MixingSettings(min_area=0.06), MixingSettings(min_area=0, max_area=0.04)])
def test_objects_outside_the_area_limits_stay_where_they_are(settings: MixingSettings) -> None:
    image, _ = scene(10)
    other, ids = scene(50)  # the object covers 30 of 600 pixels: 0.05
    assert mix(image, other, ids, settings, np.random.default_rng(0)) is image


def test_probability_decides_how_many_of_a_batch_are_mixed() -> None:
    pairs = [scene(10 + i) for i in range(40)]
    images, ids = np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
    changed = {}
    for probability in (0.25, 1.0):
        mixed = mix_batch(images, ids, MixingSettings(probability=probability), np.random.default_rng(3))
        changed[probability] = int((mixed != images).any((1, 2, 3)).sum())
    assert changed[1.0] == 40
    assert 4 <= changed[0.25] <= 17


@pytest.mark.parametrize("bad", [{"probability": 0}, {"max_objects": 0}, {"min_area": 0.5, "max_area": 0.2}])
def test_settings_that_cannot_be_meant_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        MixingSettings(**bad)  # type: ignore[arg-type]
