"""Drift of every artefact of a run without labels: against the fp32 model, and against the teacher.

The pictures are those of the calibration set that no target calibrated on. What the fp32 model and the teacher gave for
them is kept in the run (check/), so that a device needs neither torch nor the teacher.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.arrays import read_array
from calibration.errors import EdgekdError
from calibration.files import replacing
from calibration.progress import Progress
from edgekd.run import Run
from edgekd.steps.artefacts import built_artefacts, calibration_set
from targets import get_target
from targets.base import RunnerOptions
from targets.drift import Drift, measure_drift

__all__ = ["CheckResult", "CheckRow", "References", "check_run", "read_references", "write_references"]

_BATCH = 8


@dataclass(frozen=True)
class References:
    """Depth float32 [N, H, W] in metres on the held-out pictures; no teacher where it is the fp32 model itself."""

    model: NDArray[np.float32]
    teacher: NDArray[np.float32] | None


@dataclass(frozen=True)
class CheckRow:
    """One model's drift. Where it could not run, `reason` and `fix` say why."""

    name: str
    from_model: Drift | None = None
    from_teacher: Drift | None = None
    reason: str | None = None
    fix: str | None = None


@dataclass(frozen=True)
class CheckResult:
    """All rows, the fp32 model first where there is a teacher to compare it with."""

    rows: tuple[CheckRow, ...]
    pictures: str  # one line: what drift was measured on

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def write_references(folder: Path, references: References) -> list[Path]:
    """Write the depths to check against; returns the files."""
    planes = {"model.npy": references.model, "teacher.npy": references.teacher}
    written = []
    for name, depth in planes.items():
        if depth is not None:
            with replacing(folder / name) as temporary, open(temporary, "wb") as stream:
                np.save(stream, depth.astype(np.float32), allow_pickle=False)
            written.append(folder / name)
    return written


def read_references(run: Run) -> References:
    """The depths to check against. Raises RunError or FileError when they are missing or altered."""
    folder = run.folder / "check"
    run.verify(folder)
    teacher = folder / "teacher.npy"
    return References(_load(folder / "model.npy"), _load(teacher) if teacher.is_file() else None)


def check_run(run: Run, targets: tuple[str, ...], progress: Progress) -> CheckResult:
    """Infer the held-out pictures with every artefact that runs here and measure its drift.

    Raises RunError, ArtefactError or FileError; an artefact that cannot run here is a row with the reason.
    """
    references = read_references(run)
    calibration = calibration_set(run)
    _, pictures = calibration.split()
    rows = []
    if references.teacher is not None:
        rows.append(CheckRow("fp32 student", None, measure_drift(references.model, references.teacher)))
    artefacts = built_artefacts(run, targets)
    with progress.task("Checking", total=len(artefacts) * len(pictures)) as advance:
        for artefact in artefacts:
            if not artefact.can_run_here:
                fix = artefact.device_command or "Copy the run to the device and check it there"
                rows.append(CheckRow(artefact.name, reason="built for another device than this machine", fix=fix))
                advance(len(pictures))
                continue
            try:
                depths = []
                with get_target(artefact.target).open(artefact, RunnerOptions()) as runner:
                    for start in range(0, len(pictures), _BATCH):
                        depths.append(runner.infer(np.ascontiguousarray(pictures[start : start + _BATCH])))
                        advance(len(depths[-1]))
            except EdgekdError as error:
                progress.note(f"{artefact.name} cannot be checked: {error.message}")
                rows.append(CheckRow(artefact.name, reason=error.message, fix=error.fix))
                continue
            depth = np.concatenate(depths)
            against = None if references.teacher is None else measure_drift(depth, references.teacher)
            rows.append(CheckRow(artefact.name, measure_drift(depth, references.model), against))
    kind = "held out from" if len(pictures) < calibration.count else "all of"
    about = f"{len(pictures)} pictures, {kind} the calibration set ({calibration.origin})"
    return CheckResult(tuple(rows), about)


def _load(path: Path) -> NDArray[np.float32]:
    return np.array(read_array(path, fix="Make it anew with the command of the run"), np.float32)
