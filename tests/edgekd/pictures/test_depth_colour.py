"""Depth in colour: near is warm and light, the order is never lost, and the bar shows the metres."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.errors import DataError
from edgekd.pictures import colour_depth, depth_range, scale_bar
from edgekd.pictures.colour import NO_DEPTH


def luminance(rgb: np.ndarray) -> np.ndarray:
    """Relative luminance of sRGB (IEC 61966-2-1)."""
    value = rgb / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def test_near_is_warm_and_light_far_is_cool_and_dark() -> None:
    near, far = colour_depth(np.array([[1.0, 10.0]]), 1, 10)[0].astype(int)
    assert near[0] > near[2] + 50 and far[2] > far[0] + 50
    depth = np.geomspace(1, 10, 256)[None]
    assert (np.diff(luminance(colour_depth(depth, 1, 10)[0])) <= 1e-3).all()


def test_every_colour_is_its_own() -> None:
    colours = colour_depth(np.geomspace(1, 10, 256)[None], 1, 10)[0]
    assert len({tuple(colour) for colour in colours.tolist()}) == 256
    assert NO_DEPTH not in {tuple(colour) for colour in colours.tolist()}


def test_no_depth_is_grey_and_the_rest_is_clipped() -> None:
    depth = np.array([[0, -1, np.nan, np.inf, 0.5, 20, 1, 10]])
    colours = colour_depth(depth, 1, 10)[0]
    assert (colours[:4] == NO_DEPTH).all()
    assert (colours[4] == colours[6]).all() and (colours[5] == colours[7]).all()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (2, 2), (3, 1), (1, np.inf), (np.nan, 1)])
def test_impossible_ranges_are_refused(low: float, high: float) -> None:
    with pytest.raises(DataError):
        colour_depth(np.ones((2, 2)), low, high)


def test_a_bar_without_room_is_refused() -> None:
    with pytest.raises(DataError, match="room"):
        scale_bar(1, 5, 10)


def test_range_ignores_holes_and_outliers() -> None:
    depth = np.linspace(1, 5, 10_000)
    depth[:20], depth[20:40], depth[40] = 0, 1000, np.nan
    low, high = depth_range([depth.reshape(100, 100)])
    assert low == pytest.approx(1.05, abs=0.05) and high == pytest.approx(4.97, abs=0.05)


def test_range_of_a_wall_and_of_nothing() -> None:
    low, high = depth_range([np.full((4, 4), 2.0)])
    assert low < 2 < high and high / low == pytest.approx(1.5)
    assert depth_range([np.zeros((4, 4))]) == (0.5, 10)
    assert depth_range([]) == (0.5, 10)


@pytest.mark.parametrize("height", [16, 100, 700])
def test_scale_bar_has_the_colours_of_the_depths(height: int) -> None:
    bar = scale_bar(0.8, 7.5, height)
    assert bar.shape[0] == height and bar.dtype == np.uint8
    column = bar[:, 2]
    coloured = np.flatnonzero((column != 250).any(axis=1))
    assert (column[coloured[0]] == colour_depth(np.array([[7.5]]), 0.8, 7.5)[0, 0]).all()
    assert (column[coloured[-1]] == colour_depth(np.array([[0.8]]), 0.8, 7.5)[0, 0]).all()
    assert (bar[:, 20:] < 120).any()  # labels
