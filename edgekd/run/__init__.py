"""The run folder: what was asked for, what was made and from what, and which process is writing. See README.md."""

from __future__ import annotations

from edgekd.run.find import RUNS, default_folder, find_run, is_run
from edgekd.run.folder import Run
from edgekd.run.lock import locked
from edgekd.run.manifest import TeacherRecord
from edgekd.run.place import require_place

__all__ = ["RUNS", "Run", "TeacherRecord", "default_folder", "find_run", "is_run", "locked", "require_place"]
