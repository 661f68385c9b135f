"""What every build has in common: checking before anything is written, and a folder that is complete or absent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.coverage import check_images
from calibration.errors import DataError, UsageError
from calibration.files import replacing_folder
from calibration.images import CalibrationSet
from calibration.progress import Progress
from targets.artefact import digest_files, write_artefact
from targets.base import PRECISIONS, Artefact, BuildOptions, Precision, Runner
from targets.drift import check_depth, measure_drift
from targets.feeding import infer_each
from targets.graph import TEACHER_KEY, DepthGraph, load_model, metadata, read_graph
from targets.quantise import Budget
from targets.reference import emulate_model
from targets.trial import trial_pictures

__all__ = ["Built", "Job", "package", "prepare"]


@dataclass(frozen=True)
class Job:
    """A build job that has passed every check that can be made beforehand."""

    target: str
    graph: DepthGraph
    precision: Precision
    calibration: CalibrationSet | None
    images: NDArray[np.uint8]  # to calibrate on; empty where there is no set
    drift_images: NDArray[np.uint8]
    drift_on: str
    max_drift: float | None = None

    @property
    def budget(self) -> Budget | None:
        """What int8 may lose, where a limit was given."""
        return None if self.max_drift is None else Budget(self.max_drift, self.drift_images)


@dataclass(frozen=True)
class Built:
    """What a target wrote into the artefact folder."""

    model: str
    versions: Mapping[str, str]
    device: str | None = None
    can_run_here: bool = True
    device_command: str | None = None
    stand_in: str | None = None  # an ONNX file to measure drift on where the model itself cannot run
    settings: Mapping[str, str] = field(default_factory=dict)


def prepare(
    target: str,
    onnx: Path,
    precision: Precision,
    supported: tuple[Precision, ...],
    calibration: CalibrationSet | None,
    progress: Progress,
    options: BuildOptions,
) -> Job:
    """Check the model and the calibration set. Raises UsageError, FileError, ModelError or DataError."""
    if precision not in supported:
        kind = "is not a precision" if precision not in PRECISIONS else f"is not available for {target}"
        raise UsageError(f"{precision!r} {kind}", fix=f"Choose one of: {', '.join(supported)}")
    graph = read_graph(onnx)
    height, width = graph.input.height, graph.input.width
    if calibration is None:
        if precision == "int8":
            raise UsageError(
                f"{target} int8 needs calibration pictures, and there are none",
                fix="Make them with `edgekd calibrate`, or use another --precision",
            )
        trial = trial_pictures(height, width)
        return Job(target, graph, precision, None, trial[:0], trial, "two trial pictures")
    calibration.require_size(height, width)
    _require_same_teacher(graph, calibration)
    coverage = check_images(calibration.images)
    images, held_out = calibration.split()
    if precision == "int8":
        for remark in coverage.remarks():
            progress.note(remark)
    kind = "calibration pictures, held out" if len(held_out) < calibration.count else "the calibration pictures"
    if precision == "int8" and options.max_drift is not None:
        kind += ", on which float layers were chosen"
    drift_on = f"{len(held_out)} {kind}"
    return Job(target, graph, precision, calibration, images, np.asarray(held_out), drift_on, options.max_drift)


def _require_same_teacher(graph: DepthGraph, calibration: CalibrationSet) -> None:
    """Raise DataError for a set of another teacher: pictures adapted to one say nothing about another's students."""
    of_model = metadata(graph.model).get(TEACHER_KEY, "").rpartition(" ")[2]
    of_set = calibration.made_from.get("teacher", "")
    if of_model and of_set and of_model != of_set:
        raise DataError(
            f"The calibration set {calibration.folder} was made for another model: its teacher is {of_set[:12]}, that "
            f"of {graph.path} is {of_model[:12]}",
            fix="Make a set for this model: `edgekd calibrate`, or `edgekd distill` with this student",
        )


def package(
    job: Job,
    into: Path,
    *,
    write: Callable[[Path], Built],
    reference: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    runner: Callable[[Artefact], Runner],
) -> Artefact:
    """Build into a folder beside `into`, measure drift, and move the folder into place.

    `reference` gives the fp32 model's depth; a model whose depth is not finite, or is zero everywhere, is refused
    with ModelError before anything is built.
    """
    expected = reference(job.drift_images)
    check_depth(expected, str(job.graph.path))
    with replacing_folder(into) as folder:
        built = write(folder)
        artefact = Artefact(
            folder=folder,
            target=job.target,
            precision=job.precision,
            input=job.graph.input,
            model=built.model,
            files=digest_files(folder),
            student=job.graph.sha256,
            calibration=job.calibration.digest if job.calibration is not None and job.precision == "int8" else None,
            versions=built.versions,
            device=built.device,
            can_run_here=built.can_run_here,
            device_command=built.device_command,
            settings=built.settings,
        )
        if built.can_run_here:
            with runner(artefact) as opened:
                drift = measure_drift(infer_each(opened, job.drift_images), expected)
            artefact = replace(artefact, drift=drift.to_json(), drift_on=job.drift_on)
        elif built.stand_in is not None:
            depth = emulate_model(load_model(folder / built.stand_in), job.drift_images)
            where = f"{job.drift_on}, computed in float by ONNX Runtime instead of on the device"
            artefact = replace(artefact, drift=measure_drift(depth, expected).to_json(), drift_on=where)
        write_artefact(artefact)
    return replace(artefact, folder=Path(into))
