"""How far the statistics that a teacher sees are from those it stored."""

from __future__ import annotations

import torch
from torch import Tensor

from edgekd.distill.moments import Moments
from edgekd.distill.statistics import StoredStatistics
from edgekd.models.batch_norm import NO_SPREAD

__all__ = ["StatisticsDistance"]


class StatisticsDistance:
    """How far moments are from the stored ones, layer by layer.

    (mu - mean)^2 / (var + floor) + ln((var_seen + floor) / (var + floor))^2 / 2, averaged over a layer's channels: for
    small differences twice the Kullback-Leibler divergence of two normal distributions, without a unit. The floor is a
    hundredth of the layer's median variance. Channels whose stored variance is practically zero carry no information
    and would dominate by their tiny denominators; they do not count.
    """

    def __init__(self, stored: StoredStatistics) -> None:
        variances = stored.moments.variance.split(stored.sizes)
        alive = [(variance > NO_SPREAD).float() for variance in variances]
        floors = [(variance.median() * 1e-2 + NO_SPREAD).expand(len(variance)) for variance in variances]
        device = stored.moments.mean.device
        self.layers = len(stored.sizes)
        self._mean = stored.moments.mean
        self._floor = torch.cat(floors)
        self._spread = stored.moments.variance + self._floor
        self._share = torch.cat([living / living.sum().clamp_min(1) for living in alive])
        self._layer = torch.cat([torch.full((size,), n, device=device) for n, size in enumerate(stored.sizes)])

    def __call__(self, seen: Moments) -> Tensor:
        """The distance of each layer, [L]."""
        shift = (seen.mean - self._mean).square() / self._spread
        ratio = ((seen.variance + self._floor) / self._spread).log().square() / 2
        distances = torch.zeros(self.layers, device=shift.device)
        return distances.index_add(0, self._layer, (shift + ratio) * self._share)
