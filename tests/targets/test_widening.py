"""Ranges widened by what BatchNorm stored: worked out by hand, and on pictures that the calibration set lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_network import pictures, save, small_network
from test_channel_statistics import seen_statistics, with_statistics

from calibration.progress import Quiet
from targets.calibrated import Calibrated, infer_quantised
from targets.channels import ChannelGroup
from targets.drift import measure_drift
from targets.encodings import S8, U8S8
from targets.gaussian import Gaussian
from targets.graph import read_graph
from targets.quantise import calibrate
from targets.reference import infer_model
from targets.statistics import ChannelStatistics
from targets.widening import divide_statistics, widen


def gaussian(mean: list[float], deviation: list[float]) -> Gaussian:
    return Gaussian.of(np.array(mean), np.array(deviation))


@pytest.mark.parametrize(
    ("measured", "mean", "deviation", "expected"),
    [
        ((0.0, 5.0), [3.0, 2.0], [0.5, 1.0], (0.0, 6.0)),  # 2 + 4 x 1
        ((-1.0, 8.0), [0.0], [0.3], (-1.2, 8.0)),  # 0 - 4 x 0.3; the upper end is wide enough
        ((-1.0, 2.0), [0.0], [10.0], (-2.0, 4.0)),  # at most twice as wide
        ((-3.0, 3.0), [0.0], [0.5], (-3.0, 3.0)),  # never narrower
    ],
)
def test_four_deviations_of_the_widest_channel(
    measured: tuple[float, float], mean: list[float], deviation: list[float], expected: tuple[float, float]
) -> None:
    assert widen({"x": measured}, {"x": gaussian(mean, deviation)})["x"] == pytest.approx(expected)


def test_a_bound_of_the_activation_bounds_the_range() -> None:
    one = Gaussian(np.array([5.0]), np.array([1.0]), np.array([0.0]), np.array([6.0]))
    assert widen({"x": (0.0, 4.0)}, {"x": one})["x"] == (0.0, 6.0)


def test_what_nothing_is_known_of_stays() -> None:
    assert widen({"x": (0.0, 1.0)}, {}) == {"x": (0.0, 1.0)}


def test_statistics_are_divided_with_the_channels_that_they_are_of() -> None:
    group = ChannelGroup(("t",), writers=("conv",), readers=("next",), bounds={})
    stored = {name: ChannelStatistics(np.float32([2, 4]), np.float32([1, 1])) for name in ("conv", "next")}
    divided = divide_statistics(stored, [(group, np.float32([1, 0.5]))])
    assert divided["conv"].mean.tolist() == [2, 8]
    assert divided["conv"].deviation.tolist() == [1, 2]
    assert divided["next"] is stored["next"]


def test_pictures_that_the_set_lacks_keep_their_depth(tmp_path: Path) -> None:
    """The calibration set has little contrast; the stored statistics are those of the pictures used in training."""
    bright = pictures(24, seed=5)
    dull = np.asarray(110 + bright // 8, np.uint8)
    model = small_network()
    expected = infer_model(model, bright)

    def drift(found: Calibrated) -> list[float]:
        return [measure_drift(infer_quantised(found, one, bright), expected).abs_rel for one in (U8S8, S8)]

    blind = calibrate(read_graph(save(model, tmp_path / "blind.onnx")), dull, Quiet())
    told = with_statistics(small_network(), seen_statistics(bright))
    knowing = calibrate(read_graph(save(told, tmp_path / "told.onnx")), dull, Quiet())
    for without, having in zip(drift(blind), drift(knowing), strict=True):
        assert having < 0.6 * without
