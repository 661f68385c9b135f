"""Sets that edgekd simulate made."""

from __future__ import annotations

from pathlib import Path

from calibration.errors import FileError
from calibration.files import read_json
from calibration.progress import Progress
from edgekd.simulate.store import SimulatedSet

__all__ = ["matches", "open_own"]


def matches(path: Path) -> bool:
    """A manifest that asks for pictures, or a damaged one, which opening it names. Other makers call files so too."""
    manifest = path / "manifest.json"
    try:
        found = read_json(manifest)
    except FileError:
        return manifest.is_file()
    return isinstance(found, dict) and "request" in found


def open_own(path: Path, progress: Progress) -> SimulatedSet:
    """Open and check a set. Raises FileError naming the shard that does not fit."""
    del progress  # nothing is ever left out of a set
    return SimulatedSet.open(path)
