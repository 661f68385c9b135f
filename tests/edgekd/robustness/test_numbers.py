"""Depth at its edges: none, one pixel, very near, very far, very many pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibration.errors import DataError, ModelError
from edgekd.evaluate.datasets.depth import read_depth
from edgekd.evaluate.metrics import score
from targets.drift import measure_drift
from targets.input import Framing


@pytest.mark.parametrize("value", [0, np.nan, np.inf, -1, 1e-30])
def test_a_truth_without_a_valid_pixel_is_one_error(value: float) -> None:
    with pytest.raises(DataError, match="No pixel"):
        score(np.ones((3, 4)), np.full((3, 4), value))


def test_one_valid_pixel_decides_alone() -> None:
    truth = np.zeros((480, 640), np.float32)
    truth[7, 9] = 2
    scores = score(np.full((480, 640), 3, np.float32), truth)
    assert scores["absrel"] == 0.5 and scores["rmse"] == 1 and scores["delta1"] == 0 and scores["silog"] == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_none_counts_as_wrong_and_not_as_left_out(value: float) -> None:
    truth = np.full((2, 2), 5.0)
    prediction = truth.copy()
    prediction[0, 0] = value
    scores = score(prediction, truth)
    assert scores["delta1"] == 0.75 and np.isfinite(list(scores.values())).all()


@pytest.mark.parametrize("metres", [1e-6, 1e6])
def test_very_near_and_very_far_depth_keeps_its_ratio(metres: float) -> None:
    truth = np.full((3, 5), metres, np.float32)
    scores = score(truth * np.float32(1.1), truth, low=metres / 100, high=metres * 100)
    assert scores["absrel"] == pytest.approx(0.1, rel=1e-5) and scores["rmse"] == pytest.approx(0.1 * metres, rel=1e-5)
    assert scores["within5"] == 0 and scores["delta1"] == 1 and scores["scale"] == pytest.approx(1.1)


def test_an_error_is_not_lost_among_many_pixels() -> None:
    """A float32 sum of 33 million pixels would stop at 16.7 million."""
    truth = np.full((4320, 7680), 1.0, np.float32)
    scores = score(truth * np.float32(1.5), truth)
    assert scores["absrel"] == pytest.approx(0.5, rel=1e-12) and scores["rmse"] == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("metres", [1e-6, 1e6])
def test_drift_at_the_edges(metres: float) -> None:
    depth = np.full((1, 2, 3), metres, np.float32)
    if metres < 0.01:
        with pytest.raises(DataError, match="no pixel with valid depth"):
            measure_drift(depth, depth)
    else:
        assert measure_drift(depth, depth).abs_rel == 0
    with pytest.raises(ModelError, match="not finite"):
        measure_drift(np.where(depth > 0, np.nan, depth), depth)


def test_frames_of_one_pixel_and_of_8k_are_framed() -> None:
    framing = Framing(32, 48)
    assert framing.image(np.full((1, 1, 3), 7, np.uint8)).min() == 7
    assert framing.nearest(np.full((1, 1), 3.0)).tolist() == np.full((32, 48), 3.0).tolist()
    assert framing.image(np.zeros((4320, 7680, 3), np.uint8)).shape == (32, 48, 3)


@pytest.mark.parametrize("value", [0, 1e-6, 1e6, np.nan, np.inf, -1])
def test_depth_of_any_value_is_kept_and_read_again(value: float, tmp_path: Path) -> None:
    path = tmp_path / "depth.npy"
    np.save(path, np.full((1, 1), value, np.float32))
    wanted = value if np.isfinite(value) and value > 0 else 0
    assert read_depth(path, 1.0).item() == np.float32(wanted)
