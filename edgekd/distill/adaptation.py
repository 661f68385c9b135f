"""Did the transformation bring pictures nearer to the teacher's, or only to what it was fitted to?

It is fitted to the first of the teacher's layers. The others were not looked at, so they tell: where they come nearer
too, what was changed is what tells simulated pictures from the teacher's; where they stay, it is not. Needs no data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calibration.errors import DataError
from edgekd.distill.settings import TransformSettings
from edgekd.distill.statistics import Moments, PooledMoments, StatisticsDistance, StoredStatistics, observe
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.models.running_order import running_order
from edgekd.models.teacher import Teacher

__all__ = ["Adaptation", "measure_adaptation"]

_BATCH = 8
_CARRIES = 0.75  # of the distance of the layers that were not matched: what may be left of it


@dataclass(frozen=True)
class Adaptation:
    """How far pictures are from what the teacher stored, layer by layer in running order, before and after."""

    layers: tuple[str, ...]
    matched: int  # of these, the first
    simulated: tuple[float, ...]
    transformed: tuple[float, ...]

    def means(self, *, matched: bool) -> tuple[float, float] | None:
        """Mean over the layers that were matched, or over the others: simulated, transformed. None without a layer."""
        part = slice(self.matched) if matched else slice(self.matched, None)
        if not self.layers[part]:
            return None
        return float(np.mean(self.simulated[part])), float(np.mean(self.transformed[part]))

    @property
    def nears(self) -> bool:
        """Whether the layers that were matched came nearer at all."""
        matched = self.means(matched=True)
        return matched is None or matched[1] <= matched[0]

    @property
    def carries(self) -> bool:
        """Whether layers that were not matched came nearer, too; True where there are none to tell."""
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
            raise DataError(f"What a transformation changed cannot be read ({error!r})", fix="Distil anew") from error


def measure_adaptation(
    teacher: Teacher,
    stored: StoredStatistics,
    settings: TransformSettings,
    simulated: NDArray[np.uint8],
    transformed: NDArray[np.uint8],
) -> Adaptation:
    """Of pictures uint8 [N, H, W, 3] as they were simulated and as they were transformed; on the CPU in float32."""
    here = torch.device("cpu")
    stored = stored.to(here).in_order(running_order(teacher.module.to(here), stored.names, teacher.input))
    before, after = (_distances(teacher, stored, pictures) for pictures in (simulated, transformed))
    return Adaptation(stored.names, len(stored.first(settings.layers).names), before, after)


@torch.no_grad()
def _distances(teacher: Teacher, stored: StoredStatistics, pictures: NDArray[np.uint8]) -> tuple[float, ...]:
    """Of the moments over all pictures, in every layer."""
    observed, normalise = observe(teacher.module, stored.names).eval(), Normalise(teacher.input)
    pooled = PooledMoments()
    for start in range(0, len(pictures), _BATCH):
        batch = to_tensor(pictures[start : start + _BATCH], torch.device("cpu"))
        pooled.add(observed(normalise(batch))[1], len(batch))
    seen = pooled.moments()
    found: list[float] = StatisticsDistance(stored)(Moments(seen.mean.float(), seen.variance.float())).tolist()
    return tuple(found)
