"""A set of simulated images that were kept with their depth: a folder that `edgekd simulate` wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.errors import DataError
from calibration.files import name_of
from edgekd.evaluate.datasets.frame import DepthDataset, DepthFrame

if TYPE_CHECKING:
    from edgekd.simulate.store import SimulatedSet

__all__ = ["SimulatedDepth", "matches", "open_simulated"]


@dataclass(frozen=True)
class SimulatedDepth:
    """A DepthDataset over a simulated set; its scenes are the rooms."""

    images: SimulatedSet
    name: str
    note: str

    @property
    def digest(self) -> str:
        return self.images.digest

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> DepthFrame:
        image = self.images[index]
        if image.depth is None:
            raise DataError(f"Picture {index} of {self.name} was kept without depth", fix=_KEEP)
        views = int(self.images.request["settings"]["views_per_room"])
        return DepthFrame(image.rgb, image.depth, f"room {index // views}", f"{self.name}/{index:06d}")


_KEEP = "Simulate the set again with its depth kept"


def matches(path: Path) -> bool:
    from edgekd.simulate.store import is_set

    return is_set(path)


def open_simulated(path: Path) -> DepthDataset:
    """Open a simulated set. Raises FileError when it is damaged, DataError when it was kept without depth."""
    from edgekd.simulate.store import SimulatedSet

    images = SimulatedSet.open(path)
    if not images.request.get("keep_depth"):
        raise DataError(f"The simulated set {path} was kept without depth", fix=_KEEP)
    return SimulatedDepth(images, name_of(path), f"{len(images)} simulated pictures: not accuracy on real ones")
