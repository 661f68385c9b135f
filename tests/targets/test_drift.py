"""Drift against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.errors import DataError, ModelError
from targets.drift import Drift, measure_drift


def one(values: list[list[float]]) -> np.ndarray:
    return np.array([values], np.float32)


def test_a_model_does_not_drift_from_itself() -> None:
    depth = np.random.default_rng(0).uniform(0.5, 5, (3, 6, 7)).astype(np.float32)
    assert measure_drift(depth, depth) == Drift(3, 0, 0, 1, 1, 1, 1, 0)


def test_scale_error_shows_raw_and_vanishes_aligned() -> None:
    reference = np.random.default_rng(0).uniform(0.5, 5, (2, 6, 7)).astype(np.float32)
    drift = measure_drift(reference * np.float32(1.1), reference)
    assert drift.abs_rel == pytest.approx(0.1, rel=1e-5)
    assert drift.scale_ratio == pytest.approx(1.1, rel=1e-5)
    assert drift.abs_rel_aligned == pytest.approx(0, abs=1e-6)
    assert drift.rank_correlation == pytest.approx(1)
    assert (drift.within_5, drift.within_1) == (0, 0)


def test_shares_and_errors_by_hand() -> None:
    # Ratios 1, 1.005, 1.03, 1.2: three within 5 %, two within 1 %; errors 0, .005, .03, .2.
    reference = one([[1, 2], [4, 5]])
    drift = measure_drift(one([[1, 2.01], [4.12, 6]]), reference)
    assert drift.within_5 == 0.75
    assert drift.within_1 == 0.5
    assert drift.abs_rel == pytest.approx((0 + 0.005 + 0.03 + 0.2) / 4, rel=1e-4)
    assert drift.scale_ratio == pytest.approx((2.01 + 4.12) / 2 / 3, rel=1e-5)
    aligned = [abs(d * 6 / 6.13 - r) / r for d, r in ((1, 1), (2.01, 2), (4.12, 4), (6, 5))]
    assert drift.abs_rel_aligned == pytest.approx(sum(aligned) / 4, rel=1e-4)
    assert drift.rank_correlation == pytest.approx(1)
    # The two upper pixels are the steepest in the reference (3 metres to the row below); errors 0 and .005.
    assert drift.abs_rel_edges == pytest.approx(0.0025, rel=1e-3)


def test_edges_are_the_tenth_of_the_pixels_where_the_reference_changes_most_in_either_direction() -> None:
    rng = np.random.default_rng(2)
    reference = rng.uniform(1, 5, (10, 20)).astype(np.float32)
    depth = reference * rng.uniform(0.8, 1.2, reference.shape).astype(np.float32)

    def steepness(place: tuple[int, int]) -> float:
        row, column = place
        neighbours = [(row + 1, column), (row, column + 1)]
        return max((abs(reference[at] - reference[place]) for at in neighbours if at[0] < 10 and at[1] < 20), default=0)

    steepest = sorted(np.ndindex(10, 20), key=steepness)[-20:]
    expected = np.mean([abs(depth[place] / reference[place] - 1) for place in steepest])
    assert measure_drift(depth[None], reference[None]).abs_rel_edges == pytest.approx(expected, rel=1e-4)


def test_flat_pixels_are_no_edges_where_nearly_all_is_flat() -> None:
    reference = np.full((64, 64), 2, np.float32)
    reference[:, 32:] = 4
    depth = reference.copy()
    depth[:, 31] *= 1.5  # the pixels whose right neighbour is further away
    assert measure_drift(depth[None], reference[None]).abs_rel_edges == pytest.approx(0.5, rel=1e-4)
    flat = np.full((1, 64, 64), 2, np.float32)
    assert measure_drift(flat * 1.1, flat).abs_rel_edges == pytest.approx(0.1, rel=1e-4)


def test_rank_correlation_is_spearmans_with_ties() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    reference = rng.integers(1, 9, (1, 10, 12)).astype(np.float32)
    depth = reference + rng.integers(0, 4, reference.shape).astype(np.float32)
    expected = scipy_stats.spearmanr(depth.ravel(), reference.ravel()).statistic
    assert measure_drift(depth, reference).rank_correlation == pytest.approx(expected, rel=1e-9)


def test_turned_over_depth_has_rank_correlation_minus_one() -> None:
    assert measure_drift(one([[4, 3], [2, 1]]), one([[1, 2], [3, 4]])).rank_correlation == pytest.approx(-1)


def test_pixels_without_depth_in_the_reference_are_left_out() -> None:
    drift = measure_drift(one([[9, 2], [3, 4]]), one([[0, 2], [3, 4]]))
    assert (drift.abs_rel, drift.within_1) == (0, 1)


def test_figures_are_means_over_pictures() -> None:
    reference = np.ones((2, 4, 4), np.float32)
    depth = np.stack([reference[0], reference[1] * np.float32(1.5)])
    drift = measure_drift(depth, reference)
    assert drift.abs_rel == pytest.approx(0.25)
    assert drift.scale_ratio == pytest.approx(1.25)
    assert drift.images == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_depth_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ModelError, match="not finite"):
        measure_drift(one([[bad, 2]]), one([[1, 2]]))


def test_zero_depth_is_refused() -> None:
    with pytest.raises(ModelError, match="zero everywhere"):
        measure_drift(one([[0, 0]]), one([[1, 2]]))


def test_other_shape_is_refused() -> None:
    with pytest.raises(DataError, match="same shape"):
        measure_drift(np.ones((1, 2, 3), np.float32), np.ones((1, 3, 2), np.float32))


def test_json_round_trip() -> None:
    drift = measure_drift(one([[1, 2.2]]), one([[1, 2]]))
    assert Drift.from_json(drift.to_json()) == drift
