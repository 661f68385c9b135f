"""Alignments against NumPy's own least squares and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgekd.evaluate.alignment import ALIGNMENTS
from edgekd.evaluate.protocols import PROTOCOLS
from edgekd.evaluate.scoring import score_image
from targets.input import Framing

LIMITS = (0.1, 10.0)


def test_scale_and_shift_is_least_squares() -> None:
    generator = np.random.default_rng(3)
    prediction = generator.uniform(1.5, 4, 300)
    truth = 1.7 * prediction - 0.4 + generator.normal(0, 0.3, 300)
    expected, *_ = np.linalg.lstsq(np.stack([prediction, np.ones(300)], axis=1), truth, rcond=None)
    assert ALIGNMENTS["scale-shift"](prediction, truth, LIMITS) == pytest.approx(expected.tolist(), rel=1e-9)


def test_constant_prediction_becomes_the_mean() -> None:
    scale, shift = ALIGNMENTS["scale-shift"](np.full(4, 3.3), np.array([1.0, 2, 3, 6]), LIMITS)
    assert scale * 3.3 + shift == pytest.approx(3)


def test_median_and_raw() -> None:
    prediction, truth = np.array([1.0, 2, 30]), np.array([3.0, 5, 6])
    assert ALIGNMENTS["median"](prediction, truth, LIMITS) == (2.5, 0)
    assert ALIGNMENTS["raw"](prediction, truth, LIMITS) == (1, 0)


def test_a_few_wild_pixels_do_not_decide_scale_and_shift() -> None:
    generator = np.random.default_rng(4)
    truth = generator.uniform(1, 4, 5000)
    prediction = 0.02 * truth + 0.01  # on a completely different scale
    expected = ALIGNMENTS["scale-shift"](prediction, truth, LIMITS)
    assert expected == pytest.approx((50, -0.5), rel=1e-6)
    prediction[:5] = 7.0
    wild = ALIGNMENTS["scale-shift"](prediction, truth, LIMITS)
    errors = [np.abs(scale * prediction[5:] + shift - truth[5:]).max() for scale, shift in (expected, wild)]
    assert errors[0] < 1e-6 and errors[1] < 0.2  # plain least squares: 1.5 m


def test_infinite_predictions_are_left_as_they_are_however_the_others_are_fitted() -> None:
    """The fit of a constant is 0 times the prediction and a shift; 0 times infinity would be NaN, and a warning."""
    prediction = np.full((4, 6), 2, np.float32)
    prediction[0] = np.inf
    truth = np.full((4, 6), 3, np.float32)
    scored = score_image(prediction, truth, Framing(4, 6), PROTOCOLS["plain"], name="a", scene="b")
    assert scored.errors == 6
    assert scored.scores["scale-shift"]["absrel"] == pytest.approx((10 - 3) / 3 * 6 / 24)
