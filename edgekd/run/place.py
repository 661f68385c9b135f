"""Whether a run can be where it is asked for, before minutes went into what belongs there."""

from __future__ import annotations

import os
from pathlib import Path

from calibration.errors import FileError
from edgekd.run.find import RUNS
from edgekd.run.folder import Run, require_empty

__all__ = ["require_place"]

_ANOTHER = "Choose another --out"


def require_place(out: Path | None) -> None:
    """Raise the FileError or RunError that starting a run in `out` would; None stands for some folder in RUNS."""
    asked = RUNS if out is None else Path(out)
    try:
        place = next(path for path in (asked, *asked.absolute().parents) if path.is_symlink() or path.exists())
        if not place.is_dir():
            raise FileError(f"{place} is no folder, and a run is one", fix=_ANOTHER)
        if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            raise FileError(f"Cannot write {place}: Permission denied", fix=_ANOTHER)
        if place == out and not Run.exists(place):
            require_empty(place)
    except OSError as error:  # a name that no folder can have, or a parent that may not be looked into
        raise FileError(f"Cannot write {asked}: {error.strerror}", fix=_ANOTHER) from error
