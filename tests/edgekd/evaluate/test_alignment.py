"""Alignments against NumPy's own least squares and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgekd.evaluate.alignment import ALIGNMENTS


def test_scale_and_shift_is_least_squares() -> None:
    generator = np.random.default_rng(3)
    prediction = generator.uniform(0.5, 8, 300)
    truth = 1.7 * prediction - 0.4 + generator.normal(0, 0.3, 300)
    expected, *_ = np.linalg.lstsq(np.stack([prediction, np.ones(300)], axis=1), truth, rcond=None)
    assert ALIGNMENTS["scale-shift"](prediction, truth) == pytest.approx(expected.tolist(), rel=1e-9)


def test_constant_prediction_becomes_the_mean() -> None:
    scale, shift = ALIGNMENTS["scale-shift"](np.full(4, 3.3), np.array([1.0, 2, 3, 6]))
    assert scale * 3.3 + shift == pytest.approx(3)


def test_median_and_raw() -> None:
    prediction, truth = np.array([1.0, 2, 30]), np.array([3.0, 5, 6])
    assert ALIGNMENTS["median"](prediction, truth) == (2.5, 0)
    assert ALIGNMENTS["raw"](prediction, truth) == (1, 0)
