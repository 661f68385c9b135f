"""Sets made by edgekd simulate."""

from __future__ import annotations

from pathlib import Path

from calibration.progress import Progress
from edgekd.simulate.store import SimulatedSet, is_set

__all__ = ["matches", "open_own"]


def matches(path: Path) -> bool:
    return is_set(path)


def open_own(path: Path, progress: Progress) -> SimulatedSet:
    """Open and check a set. Raises FileError naming the shard that does not fit."""
    del progress  # nothing is ever left out of a set
    return SimulatedSet.open(path)
