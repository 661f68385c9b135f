"""Flicker against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.errors import DataError
from edgekd.bench.flicker import measure_flicker, panned_clip


def clip(*depths: float) -> np.ndarray:
    return np.array(depths, np.float32)[:, None, None] * np.ones((1, 4, 6), np.float32)


def test_by_hand() -> None:
    """Depths of 2, 2 e^0.1 and 2 m: log depth jumps by 0.1 and back, so (0.1 + 0.1) / 2."""
    found = measure_flicker([clip(2, 2 * np.exp(0.1), 2)], [clip(2, 2, 2)])
    assert found.jitter == pytest.approx(0.1, rel=1e-4)
    assert found.added == pytest.approx(0.1, rel=1e-4)
    assert found.frames == 3


def test_even_motion_is_no_jitter_and_motion_of_both_is_not_added() -> None:
    moving = clip(1, 1.1, 1.21, 1.331)  # ten per cent per frame
    found = measure_flicker([moving], [moving * 1.3])  # a scale that is off, but constant
    assert found.jitter == pytest.approx(0, abs=1e-5) and found.added == pytest.approx(0, abs=1e-5)


def test_noise_of_one_per_cent_is_found_as_such() -> None:
    generator = np.random.default_rng(0)
    still = np.full((20, 40, 50), 2.0)
    noisy = (still * np.exp(generator.normal(0, 0.01, still.shape))).astype(np.float32)
    found = measure_flicker([noisy], [still.astype(np.float32)])
    assert found.added == pytest.approx(0.01 * np.sqrt(2) * np.sqrt(2 / np.pi), rel=0.05)
    assert found.jitter == pytest.approx(0.01 * np.sqrt(6) / 2 * np.sqrt(2 / np.pi), rel=0.05)


def test_clips_are_not_joined() -> None:
    assert measure_flicker([clip(1, 1, 1), clip(9, 9, 9)], None).jitter == 0


def test_what_is_no_clip() -> None:
    for short in ([], [clip(1, 2)]):
        with pytest.raises(DataError, match="three frames"):
            measure_flicker(short, None)
    with pytest.raises(DataError, match="same frames"):
        measure_flicker([clip(1, 1, 1)], [clip(1, 1, 1, 1)])


def test_depth_that_is_no_number_is_said() -> None:
    with pytest.raises(DataError, match="NaN or infinite"):
        measure_flicker([clip(2, float("nan"), 2)], None)


def test_a_window_glides_evenly() -> None:
    ramp = np.repeat(np.linspace(0, 255, 96)[None, :, None], 64, axis=0).repeat(3, axis=2).astype(np.uint8)
    (frames,) = panned_clip([ramp])
    means = frames.mean(axis=(1, 2, 3))
    assert frames.shape == (16, 64, 96, 3)
    np.testing.assert_allclose(np.diff(means), np.diff(means).mean(), atol=0.5)
    assert means[-1] > means[0] + 40
