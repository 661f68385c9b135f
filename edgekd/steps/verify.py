"""Checks files for damage: runs, bundles, artefacts, sets, weights and statistics against their own digests."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration.errors import EdgekdError, FileError, UsageError
from calibration.files import sha256_file
from calibration.images import CalibrationSet
from calibration.progress import Progress
from calibration.weights import STATISTICS, kind_of_weights, weights_fault
from edgekd.run import Run, find_run, is_run
from edgekd.run.manifest import NAME as RUN
from edgekd.simulate.store import SimulatedSet, is_set
from edgekd.steps.artefacts import artefact_folder, exported_names, rebuilding_stale, run_model, stale_artefact
from targets.artefact import NAME as ARTEFACT
from targets.artefact import artefact_faults, read_artefact
from targets.bundle.verify import MANIFEST, bundle_faults, is_bundle

__all__ = ["Verified", "verify"]


@dataclass(frozen=True)
class Verified:
    """What was verified. `faults` is empty if it is intact; `digest` is that of the file that holds the digests."""

    kind: str
    path: Path
    files: int
    digest: str
    faults: tuple[EdgekdError, ...]

    @property
    def whole(self) -> bool:
        return not self.faults

    def raise_faults(self) -> None:
        """Raise the first fault as FileError, with the number of others; call it after showing them all."""
        if self.faults:
            more = f", and {len(self.faults) - 1} more" if len(self.faults) > 1 else ""
            raise FileError(f"{self.path} is not intact: {self.faults[0].message}{more}", fix=self.faults[0].fix)


def verify(name: str | None, progress: Progress) -> Verified:
    """Verify every file that `name` keeps a digest of; `name` is a path or a run's name, by default the newest run.

    Raises UsageError for a file that holds no digests, and what `find_run` raises.
    """
    path = Path(name) if name else None  # an empty name is not the current folder: `find_run` refuses it
    found = None if path is None or (path / RUN).is_file() else _kind(path)
    # As for the other verbs, a folder that has the name of a run under runs/ does not hide that run.
    if found is None and (path is None or not path.exists() or is_run(str(path))):
        run = find_run(name, progress)
        with progress.task(f"Verifying {run.folder}"):
            return _run(run)
    if path is None or found is None:
        inside = None if path is None else _inside(path)
        raise UsageError(
            f"{path} holds no digests" + (f", but {inside} does" if inside else ""),
            fix=f"Run edgekd verify {shlex.quote(str(inside))}"
            if inside
            else "Pass a run, a bundle or its .tar.gz, an artefact, a set of images, or a .safetensors file of edgekd",
        )
    kind, look = found
    with progress.task(f"Verifying {path}"):
        try:
            faults, files = look(path)
        except EdgekdError as error:  # the file that holds the digests is itself damaged
            faults, files = [error], 1
    return Verified(kind, path, files, _digest(path), tuple(faults))


_Look = Callable[[Path], tuple[Sequence[EdgekdError], int]]


def _kind(path: Path) -> tuple[str, _Look] | None:
    """What `path` is, and the function that verifies it; None for a run and for what holds no digests."""
    if path.suffix == ".safetensors" and path.is_file():
        return ("statistics" if kind_of_weights(path) == STATISTICS else "weights"), _weights
    if is_bundle(path):
        return "bundle", bundle_faults
    for name, kind, look in (
        (ARTEFACT, "artefact", _artefact),
        ("calibration.json", "calibration set", _calibration),
    ):
        if (path / name).is_file():
            return kind, look
    return ("simulated set", _simulated) if is_set(path) else None


def _inside(path: Path) -> Path | None:
    """The first run, bundle, artefact or set in a folder, such as a bundle that was written into it."""
    try:
        entries = sorted(entry for entry in path.iterdir() if entry.suffix != ".safetensors")
        return next((entry for entry in entries if (entry / RUN).is_file() or _kind(entry)), None)
    except OSError:  # not a folder, or not one that may be read
        return None


def _run(run: Run) -> Verified:
    """Verify that every recorded file is intact, every step finished, and every artefact built from the run's model."""
    faults: list[EdgekdError] = [*run.faults()]
    if not faults:
        model, rebuilding = run.digest(run_model(run)), rebuilding_stale(run)
        for name in exported_names(run):
            try:
                artefact = read_artefact(artefact_folder(run, name))
            except EdgekdError as error:
                faults.append(error)
                continue
            if artefact.student != model:
                faults.append(stale_artefact(artefact.folder, rebuilding))
    files = sum(len(record.outputs) for record in run.manifest.steps.values())
    return Verified("run", run.folder, files, sha256_file(run.folder / RUN), tuple(faults))


def _artefact(path: Path) -> tuple[Sequence[EdgekdError], int]:
    artefact = read_artefact(path)
    return artefact_faults(artefact), len(artefact.files)


def _calibration(path: Path) -> tuple[Sequence[EdgekdError], int]:
    CalibrationSet.open(path)
    return [], 2


def _simulated(path: Path) -> tuple[Sequence[EdgekdError], int]:
    opened = SimulatedSet.open(path)
    return [], len({name for name, _ in opened.entries})


def _weights(path: Path) -> tuple[Sequence[EdgekdError], int]:
    fault = weights_fault(path)
    return ([] if fault is None else [FileError(f"{path} {fault}", fix="Copy it again")]), 1


def _digest(path: Path) -> str:
    names = (ARTEFACT, "calibration.json", MANIFEST)
    holders = [path] if path.is_file() else [path / name for name in names if (path / name).is_file()]
    return sha256_file(holders[0])
