"""Finds the run to use: a folder, a name under runs/, or the newest."""

from __future__ import annotations

import shlex
from pathlib import Path

from calibration.errors import EdgekdError, FileError, RunError, UnknownNameError, UsageError
from calibration.progress import Progress
from edgekd.run.folder import Run
from edgekd.run.manifest import NAME, Manifest

__all__ = ["RUNS", "default_folder", "find_run", "is_run", "newest"]

RUNS = Path("runs")
"""Where runs are created and looked up, relative to the current folder."""


def default_folder(name: str) -> Path:
    """Where a run of this name is created. A colon, as of package.module:factory, is replaced: scp and tar would take
    what stands before it for a host, and memory cards cannot store it."""
    return RUNS / name.replace(":", "-")


def find_run(name: str | None, progress: Progress) -> Run:
    """The run to use; without a name the newest, which a note then names.

    Raises UnknownNameError or UsageError for a name that is neither a folder nor a run under RUNS, RunError when
    there is no run or when the folder is not one, and FileError when RUNS cannot be read.
    """
    if name is None:
        run = newest()
        progress.note(f"No run given: using the newest, {run.folder}")
        return run
    if not name:  # a shell's unset variable; as a path it would be the current folder
        raise UsageError("The run's name is empty", fix="Name a run, or leave it out for the newest")
    folder = _folder(name)
    if folder is not None:
        return Run.open(folder)
    if Path(name).is_dir():
        empty = all(entry.name.startswith(".") for entry in Path(name).iterdir())  # a run cannot start in any other
        start = f" --out {shlex.quote(name)}" if empty else ""
        raise RunError(
            f"{name} is not a run: it has no {NAME}", fix=f"Choose another, or start one: edgekd distill{start}"
        )
    known = [str(folder) for folder in _runs()]
    if not known:
        raise UsageError(f"No run named {name!r}, and no other run in {RUNS}", fix="Start one: edgekd distill")
    raise UnknownNameError("run", name, known)


def is_run(name: str) -> bool:
    """Whether `find_run` would find a run by that name."""
    return bool(name) and _folder(name) is not None


def newest() -> Run:
    """The most recently created run under RUNS. Raises RunError when there is none."""
    created = {}
    for folder in _runs():
        try:
            created[folder] = Manifest.read(folder).created
        except EdgekdError:
            continue  # a damaged run is never chosen by default
    if not created:
        raise RunError(f"No run in {RUNS}", fix="Start one: edgekd distill")
    return Run.open(max(created, key=lambda folder: (created[folder], folder.name)))


def _folder(name: str) -> Path | None:
    """The folder of the run that is meant; with `./` or `..`, a name is a path from here and nothing under RUNS."""
    is_path = name.startswith("./") or ".." in Path(name).parts
    places = (Path(name),) if is_path else (Path(name), RUNS / name)
    return next((folder for folder in places if (folder / NAME).is_file()), None)


def _runs() -> list[Path]:
    """Raises FileError for a folder that cannot be read, which glob would pass over."""
    try:
        next(RUNS.iterdir(), None)
        (RUNS / NAME).exists()  # a folder can be listed and still be closed
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FileError(f"Cannot read {RUNS}: {error.strerror}", fix="Check the path and its permissions") from error
    return sorted(path.parent for path in RUNS.glob(f"*/{NAME}"))
