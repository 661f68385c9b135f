from __future__ import annotations

import numpy as np

from calibration.coverage import measure_coverage


def ramps(count: int) -> np.ndarray:
    """Smooth pictures of increasing brightness, with mean 10, 20, 30 ... in every channel."""
    ramp = np.linspace(-8, 8, 16)[None, :, None]
    return np.stack([np.broadcast_to(ramp + 10 * (i + 1), (12, 16, 3)) for i in range(count)]).round().astype(np.uint8)


def test_brightness_is_that_of_the_darkest_and_brightest_picture() -> None:
    coverage = measure_coverage(ramps(5))
    assert abs(coverage.darkest - 10) < 0.5
    assert abs(coverage.brightest - 50) < 0.5
    assert (coverage.count, coverage.distinct, coverage.flat) == (5, 5, 0)


def test_repeats_and_flat_pictures_are_counted() -> None:
    images = np.concatenate([ramps(3), ramps(2), np.full((2, 12, 16, 3), 7, np.uint8)])
    coverage = measure_coverage(images)
    assert (coverage.count, coverage.distinct, coverage.flat) == (7, 4, 2)
    remarks = " | ".join(coverage.remarks())
    assert "3 of 7 calibration pictures are duplicates" in remarks
    assert "2 of 7 calibration pictures show a single colour" in remarks
    assert "few" in remarks


def test_a_single_duplicate_is_one() -> None:
    remarks = measure_coverage(np.concatenate([ramps(3), ramps(1)])).remarks()
    assert remarks == ["4 calibration pictures are few: use 16 or more", "1 of 4 calibration pictures is a duplicate"]


def test_noise_is_told_from_pictures() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 12, 16, 3), dtype=np.uint8)
    assert any("noise" in remark for remark in measure_coverage(noise).remarks())
    assert measure_coverage(ramps(20)).smoothness > 0.9
    assert not any("noise" in remark for remark in measure_coverage(ramps(20)).remarks())


def test_a_good_set_draws_no_remark() -> None:
    images = np.concatenate([ramps(20), ramps(20)[:, :, ::-1]])
    assert measure_coverage(images).remarks() == []
