"""Which run is meant: a folder, a name under runs/, or the newest."""

from __future__ import annotations

import shlex
from pathlib import Path

from calibration.errors import EdgekdError, RunError, UnknownNameError, UsageError
from calibration.progress import Progress
from edgekd.run.folder import Run
from edgekd.run.manifest import NAME, Manifest

__all__ = ["RUNS", "find_run", "is_run", "newest"]

RUNS = Path("runs")
"""Where runs are made and looked for, below the current folder."""


def find_run(name: str | None, progress: Progress, root: Path = RUNS) -> Run:
    """The run that is meant; without a name the newest, which is then named in a note.

    Raises UnknownNameError or UsageError for a name that is neither a folder nor a run under `root`, RunError when
    there is none.
    """
    if name is None:
        run = newest(root)
        progress.note(f"No run was named: taking the newest, {run.folder}")
        return run
    folder = _folder(name, root)
    if folder is not None:
        return Run.open(folder)
    if Path(name).is_dir():
        empty = all(
            entry.name.startswith(".") for entry in Path(name).iterdir()
        )  # another is refused as a run's folder
        start = f" --out {shlex.quote(name)}" if empty else ""
        raise RunError(f"{name} is no run: it has no {NAME}", fix=f"Name another, or start one: edgekd distill{start}")
    known = [str(folder) for folder in _runs(root)]
    if not known:
        raise UsageError(f"There is no run named {name!r}, nor any other in {root}", fix="Start one: edgekd distill")
    raise UnknownNameError("run", name, known)


def is_run(name: str, root: Path = RUNS) -> bool:
    """Whether `find_run` would find a run of that name."""
    return _folder(name, root) is not None


def newest(root: Path = RUNS) -> Run:
    """The run under `root` that was created last. Raises RunError when there is none."""
    created = {}
    for folder in _runs(root):
        try:
            created[folder] = Manifest.read(folder).created
        except EdgekdError:
            continue  # a damaged run is never the one to take unasked
    if not created:
        raise RunError(f"There is no run in {root}", fix="Start one: edgekd distill")
    return Run.open(max(created, key=lambda folder: (created[folder], folder.name)))


def _folder(name: str, root: Path) -> Path | None:
    return next((folder for folder in (Path(name), root / name) if (folder / NAME).is_file()), None)


def _runs(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.glob(f"*/{NAME}"))
