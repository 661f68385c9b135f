"""Metrics against values worked out by hand, and against a second, different implementation."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from calibration.errors import DataError
from edgekd.evaluate.metrics import METRICS, clamp, measure, score, valid


def slow(prediction: list[float], truth: list[float]) -> dict[str, float]:
    """The definitions again, one pixel at a time."""
    pairs = list(zip(prediction, truth, strict=True))
    n = len(pairs)
    logs = [math.log(p / t) for p, t in pairs]
    worse = [max(p / t, t / p) for p, t in pairs]
    return {
        "absrel": sum(abs(p / t - 1) for p, t in pairs) / n,
        "rmse": math.sqrt(sum((p - t) ** 2 for p, t in pairs) / n),
        "log10": sum(abs(math.log10(p / t)) for p, t in pairs) / n,
        "silog": 100 * math.sqrt(sum(d * d for d in logs) / n - (sum(logs) / n) ** 2),
        "delta1": sum(w < 1.25 for w in worse) / n,
        "delta2": sum(w < 1.5625 for w in worse) / n,
        "delta3": sum(w < 1.953125 for w in worse) / n,
        "within5": sum(w < 1.05 for w in worse) / n,
        "within1": sum(w < 1.01 for w in worse) / n,
        "scale": statistics.median(prediction) / statistics.median(truth),
    }


def test_by_hand() -> None:
    got = measure(np.array([1.0, 2.2, 6.0]), np.array([1.0, 2.0, 4.0]))
    assert got["absrel"] == pytest.approx((0 + 0.1 + 0.5) / 3)
    assert got["rmse"] == pytest.approx(math.sqrt((0 + 0.04 + 4) / 3))
    assert got["log10"] == pytest.approx((0 + math.log10(1.1) + math.log10(1.5)) / 3)
    assert got["silog"] == pytest.approx(17.3103, abs=1e-4)  # 100 sqrt(0.057829 - 0.166925^2)
    assert (got["delta1"], got["delta2"], got["delta3"]) == (pytest.approx(2 / 3), 1, 1)
    assert (got["within5"], got["within1"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert got["scale"] == pytest.approx(1.1)


@pytest.mark.parametrize("seed", range(5))
def test_against_second_implementation(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.uniform(0.2, 9.0, 400)
    prediction = truth * generator.lognormal(0.05, 0.3, 400)
    expected = slow(prediction.tolist(), truth.tolist())
    assert measure(prediction, truth) == pytest.approx(expected, rel=1e-9)


def test_thresholds_are_strict() -> None:
    got = measure(np.array([1.25, 1.24]), np.array([1.0, 1.0]))
    assert got["delta1"] == 0.5


@pytest.mark.parametrize("depth", [1e-6, 1e6])
def test_extreme_depth_stays_finite(depth: float) -> None:
    got = measure(np.array([depth, 1.0]), np.array([1.0, depth]))
    assert all(math.isfinite(value) for value in got.values())
    for name, metric in METRICS.items():
        assert metric.low <= got[name] <= metric.high


def test_one_pixel() -> None:
    got = measure(np.array([2.0]), np.array([2.0]))
    assert (got["absrel"], got["silog"], got["delta1"], got["scale"]) == (0, 0, 1, 1)


def test_no_pixel_is_an_error() -> None:
    with pytest.raises(DataError, match="No pixel"):
        measure(np.empty(0), np.empty(0))
    with pytest.raises(DataError, match="No pixel"):
        score(np.ones((2, 2)), np.zeros((2, 2)))


def test_valid_leaves_out_holes_and_both_ends() -> None:
    truth = np.array([0, np.nan, np.inf, -1, 0.1, 0.11, 10, 9.99])
    assert valid(truth, 0.1, 10).tolist() == [False, False, False, False, False, True, False, True]


def test_clamp_keeps_every_pixel() -> None:
    got = clamp(np.array([np.nan, np.inf, -np.inf, -3, 0, 5, 50], np.float32), 0.1, 10)
    assert got.tolist() == [0.1, 10, 0.1, 0.1, 0.1, 5, 10]
    assert got.dtype == np.float64


def test_score_takes_planes_of_any_type_and_refuses_other_shapes() -> None:
    truth = np.full((3, 4), 2, np.float32)
    truth[0, 0] = 0
    assert score(np.full((3, 4), 3, np.float32), truth)["absrel"] == pytest.approx(0.5)
    with pytest.raises(DataError, match=r"\[4, 3\]"):
        score(np.ones((4, 3)), truth)


def test_every_metric_says_what_it_is() -> None:
    truth = np.array([1.0, 2.0])
    perfect, off = measure(truth, truth), measure(np.array([1.5, 4.0]), truth)
    for name, metric in METRICS.items():
        assert metric.better_than(perfect[name], off[name]), name
        assert metric.label in metric.heading
    assert METRICS["scale"].better_than(0.9, 1.2)
    assert METRICS["scale"].best([0.8, 1.2, 0.9, 1.3]) == 0.9
    assert METRICS["scale"].better_than(1.6, 0.5)  # half as far is worse than 1.6 times as far
    assert "[m]" in METRICS["rmse"].heading
