"""Checks that a run can be created in the requested place, before minutes of work."""

from __future__ import annotations

import os
from pathlib import Path

from calibration.errors import FileError
from edgekd.run.find import RUNS
from edgekd.run.folder import Run, require_empty

__all__ = ["require_place"]

_ANOTHER = "Choose another --out"


def require_place(out: Path | None) -> None:
    """Raise the FileError or RunError that starting a run in `out` would raise; None stands for a folder in RUNS."""
    asked = RUNS if out is None else Path(out)
    try:
        place = next(path for path in (asked, *asked.absolute().parents) if path.is_symlink() or path.exists())
        if not place.is_dir():
            raise FileError(f"{place} is not a folder", fix=_ANOTHER)
        if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            raise FileError(f"Cannot write {place}: Permission denied", fix=_ANOTHER)
        if place == out and not Run.exists(place):
            require_empty(place)
    except OSError as error:  # not a valid folder name, or a parent that may not be read
        raise FileError(f"Cannot write {asked}: {error.strerror}", fix=_ANOTHER) from error
