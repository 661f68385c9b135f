"""Whether the transformation brought pictures nearer to the teacher's, or only to what it was fitted to.

It is fitted to the first of the teacher's layers, so the others are an independent check. If pictures come nearer there
too, it changed what distinguishes simulated pictures from the teacher's; if not, it changed something else. The check
needs no data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calibration.errors import DataError
from edgekd.distill.moments import Moments, PooledMoments
from edgekd.distill.observing import observe
from edgekd.distill.settings import TransformSettings
from edgekd.distill.statistics import StoredStatistics
from edgekd.distill.statistics_distance import StatisticsDistance
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.models.running_order import running_order
from edgekd.models.teacher import Teacher

__all__ = ["Adaptation", "measure_adaptation"]

_BATCH = 8
_CARRIES = 0.75  # share of the distance in the unmatched layers that may remain


@dataclass(frozen=True)
class Adaptation:
    """Distance of pictures from the teacher's stored statistics, by layer in running order, before and after."""

    layers: tuple[str, ...]
    matched: int  # how many of the layers, from the first, were matched
    simulated: tuple[float, ...]
    transformed: tuple[float, ...]

    def means(self, *, matched: bool) -> tuple[float, float] | None:
        """Mean distance (simulated, transformed) over the matched layers or over the others; None without any."""
        part = slice(self.matched) if matched else slice(self.matched, None)
        if not self.layers[part]:
            return None
        return float(np.mean(self.simulated[part])), float(np.mean(self.transformed[part]))

    @property
    def matched_improve(self) -> bool:
        """Whether the matched layers came nearer, or at least no farther away; True without any."""
        matched = self.means(matched=True)
        return matched is None or matched[1] <= matched[0]

    @property
    def others_improve(self) -> bool:
        """Whether the other layers came clearly nearer too; True without any."""
        others = self.means(matched=False)
        return others is None or others[1] <= _CARRIES * others[0]

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Adaptation:
        """The inverse of `to_json`. Raises DataError."""
        try:
            simulated, transformed = (tuple(map(float, value[name])) for name in ("simulated", "transformed"))
            return cls(tuple(map(str, value["layers"])), int(value["matched"]), simulated, transformed)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"The record of the transformation cannot be read ({error!r})", fix="Distil again"
            ) from error


def measure_adaptation(
    teacher: Teacher,
    stored: StoredStatistics,
    settings: TransformSettings,
    simulated: NDArray[np.uint8],
    transformed: NDArray[np.uint8],
) -> Adaptation:
    """Compare pictures uint8 [N, H, W, 3] as simulated and as transformed; on the CPU in float32."""
    here = torch.device("cpu")
    stored = stored.to(here).in_order(running_order(teacher.module.to(here), stored.names, teacher.input))
    before, after = (_distances(teacher, stored, pictures) for pictures in (simulated, transformed))
    return Adaptation(stored.names, len(stored.first(settings.layers).names), before, after)


@torch.no_grad()
def _distances(teacher: Teacher, stored: StoredStatistics, pictures: NDArray[np.uint8]) -> tuple[float, ...]:
    """The distance in each layer of the moments over all pictures."""
    observed, normalise = observe(teacher.module, stored.names).eval(), Normalise(teacher.input)
    pooled = PooledMoments()
    for start in range(0, len(pictures), _BATCH):
        batch = to_tensor(pictures[start : start + _BATCH], torch.device("cpu"))
        pooled.add(observed(normalise(batch))[1], len(batch))
    seen = pooled.moments()
    found: list[float] = StatisticsDistance(stored)(Moments(seen.mean.float(), seen.variance.float())).tolist()
    return tuple(found)
