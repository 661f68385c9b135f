"""Measures the drift of every artefact of a run without labels, and whether its calibration set is good enough.

The pictures are those of the calibration set that no target calibrated on. The depth that the fp32 model and the
teacher predicted for them is kept in the run (check/), so that a device needs neither torch nor the teacher. If frames
are given, drift is measured on them too, and how far their verdict on the calibration set agrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.arrays import read_array
from calibration.errors import EdgekdError, MissingRuntimeError
from calibration.files import replacing
from calibration.progress import Advance, Progress
from calibration.wording import counted
from edgekd.run import Run
from edgekd.steps.artefacts import built_artefacts, calibration_set, run_model
from edgekd.steps.coverage import FramesCoverage, frame_coverage, read_frames, run_coverage
from targets import get_target
from targets.base import Artefact, RunnerOptions
from targets.coverage import LayerCoverage
from targets.drift import Drift, measure_drift, require_reference
from targets.elsewhere import why_elsewhere
from targets.feeding import infer_each
from targets.graph import read_graph
from targets.reference import infer_model

__all__ = ["CheckResult", "CheckRow", "References", "check_run", "read_references", "write_references"]


@dataclass(frozen=True)
class References:
    """Depth float32 [N, H, W] in metres on the held-out pictures; `teacher` is None if it is the fp32 model itself."""

    model: NDArray[np.float32]
    teacher: NDArray[np.float32] | None


@dataclass(frozen=True)
class CheckRow:
    """One model's drift. If it could not run, `reason` and `fix` say why."""

    name: str
    from_model: Drift | None = None
    from_teacher: Drift | None = None
    on_frames: Drift | None = None  # from the fp32 model, on the given frames
    reason: str | None = None
    fix: str | None = None
    missing: bool = False  # the reason is a runtime or a device that is missing


@dataclass(frozen=True)
class CheckResult:
    """All rows, starting with the fp32 student if there is a teacher to compare it with."""

    rows: tuple[CheckRow, ...]
    pictures: str  # one line: what drift was measured on
    layers: tuple[LayerCoverage, ...] = ()  # of the calibration set; empty if not measured
    frames: FramesCoverage | None = None

    @property
    def weak(self) -> tuple[LayerCoverage, ...]:
        """The layers that the calibration set does not cover well enough."""
        return tuple(layer for layer in self.layers if layer.weaknesses)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def write_references(folder: Path, references: References) -> list[Path]:
    """Write the reference depth maps; returns the files."""
    planes = {"model.npy": references.model, "teacher.npy": references.teacher}
    written = []
    for name, depth in planes.items():
        if depth is not None:
            with replacing(folder / name) as temporary, open(temporary, "wb") as stream:
                np.save(stream, depth.astype(np.float32), allow_pickle=False)
            written.append(folder / name)
    return written


def read_references(run: Run) -> References:
    """The reference depth maps. Raises RunError or FileError when they are missing or altered."""
    folder = run.folder / "check"
    run.verify(folder)
    teacher = folder / "teacher.npy"
    return References(_load(folder / "model.npy"), _load(teacher) if teacher.is_file() else None)


def check_run(run: Run, targets: tuple[str, ...], progress: Progress, frames: Path | None = None) -> CheckResult:
    """Measure drift on the held-out pictures, and on those in the folder `frames`, for every artefact that runs here.

    An artefact that cannot run here is a row with the reason. Raises RunError, ArtefactError, FileError or DataError.
    """
    references = read_references(run)
    calibration = calibration_set(run)
    _, held_out = calibration.split()
    layers, on_frames = _coverage(run, progress), None
    pictures: list[NDArray[np.uint8]] = [np.asarray(held_out)]
    expected = [references.model]
    if frames is not None:
        graph = read_graph(run_model(run))
        pictures.append(read_frames(frames, graph.input.framing))
        expected.append(infer_model(graph.model, pictures[1]))
        on_frames = frame_coverage(graph, layers, pictures[1], progress) if layers else None
    for reference in expected:
        require_reference(reference)
    rows = []
    if references.teacher is not None:
        rows.append(CheckRow("fp32 student", None, measure_drift(references.model, references.teacher)))
    artefacts = built_artefacts(run, targets, progress)
    with progress.task("Checking", total=len(artefacts) * sum(map(len, pictures))) as advance:
        for artefact in artefacts:
            if (elsewhere := why_elsewhere(artefact)) is not None:
                reason, fix, missing = elsewhere.reason, elsewhere.fix, elsewhere.missing
                rows.append(CheckRow(artefact.name, reason=reason, fix=fix, missing=missing))
                advance(sum(map(len, pictures)))
                continue
            try:
                depths = _infer(artefact, pictures, advance)
                drifts = [measure_drift(depth, reference) for depth, reference in zip(depths, expected, strict=True)]
                against = None if references.teacher is None else measure_drift(depths[0], references.teacher)
            except EdgekdError as error:
                progress.note(f"{artefact.name} cannot be checked: {error.message}")
                missing = isinstance(error, MissingRuntimeError)
                rows.append(CheckRow(artefact.name, reason=error.message, fix=error.fix, missing=missing))
                continue
            rows.append(CheckRow(artefact.name, drifts[0], against, drifts[1] if len(drifts) > 1 else None))
    kind = "held out from" if len(held_out) < calibration.count else "all of"
    about = f"{counted(len(held_out), 'picture')}, {kind} the calibration set ({calibration.origin})"
    return CheckResult(tuple(rows), about, layers, on_frames)


def _coverage(run: Run, progress: Progress) -> tuple[LayerCoverage, ...]:
    try:
        return run_coverage(run, progress)
    except MissingRuntimeError as error:  # a device may lack ONNX Runtime
        progress.note(f"The coverage of the calibration set was not checked: {error}")
        return ()


def _infer(artefact: Artefact, pictures: Sequence[NDArray[np.uint8]], advance: Advance) -> list[NDArray[np.float32]]:
    """The artefact's depth for each set of pictures."""
    depths = []
    with get_target(artefact.target).open(artefact, RunnerOptions()) as runner:
        for images in pictures:
            depths.append(infer_each(runner, images, advance))
    return depths


def _load(path: Path) -> NDArray[np.float32]:
    return np.array(read_array(path, fix="Rebuild it with the run's command"), np.float32)
