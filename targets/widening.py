"""Ranges that cover what the network was trained on, not only what it is calibrated on.

Simulated rooms rarely show anything beyond five metres; the statistics of one BatchNorm in FastDepth show that the lost
pictures did. Each range is widened to REACH deviations of its channels' stored distribution, followed through the
layers to where it is rounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from targets.channels import ChannelGroup
from targets.gaussian import Gaussian
from targets.ranges import Ranges
from targets.statistics import ChannelStatistics

__all__ = ["LARGEST", "REACH", "divide_statistics", "widen"]

REACH = 4.0
"""Standard deviations; README.md has the results of other values."""

LARGEST = 2.0
"""A range grows by this factor at most: a distribution followed through layers is an estimate."""


def divide_statistics(
    statistics: Mapping[str, ChannelStatistics],
    factors: Iterable[tuple[ChannelGroup, NDArray[np.float32]]],
) -> dict[str, ChannelStatistics]:
    """The statistics of the model after dividing its channels by `factors`."""
    divided = dict(statistics)
    for group, divisors in factors:
        for name in group.writers:
            if name in divided:
                one = divided[name]
                divided[name] = replace(one, mean=one.mean / divisors, deviation=one.deviation / divisors)
    return divided


def widen(ranges: Ranges, stored: Mapping[str, Gaussian], reach: float = REACH) -> dict[str, tuple[float, float]]:
    """The ranges, each widened to the distribution of its activation, at most to LARGEST times what it was."""
    return {
        name: (low, high) if name not in stored else _widened(low, high, stored[name], reach)
        for name, (low, high) in ranges.items()
    }


def _widened(low: float, high: float, stored: Gaussian, reach: float) -> tuple[float, float]:
    least = np.maximum(stored.mean - reach * stored.deviation, stored.low).min()
    most = np.minimum(stored.mean + reach * stored.deviation, stored.high).max()
    return min(low, max(float(least), LARGEST * low)), max(high, min(float(most), LARGEST * high))
