"""Measuring artefacts on this machine: latency under watched conditions, and accuracy of the same files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError, EdgekdError
from calibration.progress import Progress
from edgekd.bench.conditions import change, read_conditions
from edgekd.bench.grade import grade
from edgekd.bench.latency import measure_latency
from edgekd.bench.machine import Machine, describe_machine
from edgekd.bench.result import BenchResult, BenchRow
from edgekd.evaluate.datasets.frame import DepthDataset
from edgekd.evaluate.evaluate import evaluate
from edgekd.evaluate.placing import place
from edgekd.evaluate.protocols import ScoringProtocol
from targets import get_target
from targets.base import Artefact, Runner, RunnerOptions
from targets.input import Framing, InputSpec

__all__ = ["BenchSettings", "Scoring", "bench", "frame_all", "require_scorable"]


@dataclass(frozen=True)
class BenchSettings:
    """How latency is measured. `device` None means each artefact's own."""

    threads: int = 1
    device: str | None = None
    batch: int = 1
    minimum: int = 200  # inferences
    seconds: float = 5.0
    framed: bool = True  # measure a second time with a camera's picture framed before each inference

    def __post_init__(self) -> None:
        if min(self.threads, self.batch, self.minimum) < 1 or not 0 <= self.seconds < float("inf"):
            raise DataError(
                f"A bench with {self.threads} threads, batches of {self.batch}, {self.minimum} inferences and "
                f"{self.seconds} s cannot be run",
                fix="Give at least 1 of each and 0 seconds or more",
            )


@dataclass(frozen=True)
class Scoring:
    """Data to score on, and how."""

    data: DepthDataset
    protocol: ScoringProtocol


def bench(
    artefacts: Sequence[Artefact],
    pictures: Sequence[NDArray[np.uint8]],
    about_pictures: str,
    settings: BenchSettings,
    progress: Progress,
    *,
    scoring: Scoring | None = None,
) -> BenchResult:
    """One row for each artefact, in the order given.

    `pictures` are uint8 [h, w, 3]: of the network's resolution, or of any other and framed for it. An artefact that
    cannot run here, or fails while it runs, is a row with the reason and what was measured before. Raises DataError
    without artefacts or pictures, or when the data do not suit the protocol.
    """
    if not artefacts:
        raise DataError("There are no artefacts to measure", fix="Build some: edgekd export")
    if not pictures:
        raise DataError("There are no pictures to measure latency on", fix="Give at least two")
    if scoring is not None:
        require_scorable(scoring)
    machine = describe_machine()
    rows = []
    for number, artefact in enumerate(artefacts, start=1):
        progress.note(f"Measuring {artefact.name} ({number} of {len(artefacts)})")
        rows.append(_measure(artefact, pictures, settings, scoring, machine, progress))
    return BenchResult(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=machine,
        settings=asdict(settings),
        pictures=about_pictures,
        rows=tuple(rows),
    )


def _measure(
    artefact: Artefact,
    pictures: Sequence[NDArray[np.uint8]],
    settings: BenchSettings,
    scoring: Scoring | None,
    machine: Machine,
    progress: Progress,
) -> BenchRow:
    row = BenchRow(
        name=artefact.name,
        target=artefact.target,
        precision=artefact.precision,
        size=_size(artefact),
        student=artefact.student,
        calibration=artefact.calibration,
        drift=dict(artefact.drift),
        drift_on=artefact.drift_on,
    )
    if not artefact.can_run_here:
        command = artefact.device_command or "Copy the run to the device and bench it there"
        return replace(row, reason="built for another device than this machine", fix=command)
    try:
        start = time.perf_counter()
        with get_target(artefact.target).open(artefact, RunnerOptions(settings.threads, settings.device)) as runner:
            row = replace(row, opened=1000 * (time.perf_counter() - start))
            row = _timed(row, runner, pictures, settings, machine, progress)
            if scoring is not None:
                scored = evaluate(runner.infer, artefact.input, scoring.data, scoring.protocol, progress)
                row = replace(row, evaluation=scored)
    except EdgekdError as error:
        return _failed(row, error.message, error.fix, progress)
    except Exception as error:  # what a runtime raises has no common base; the other artefacts still count
        reason = (str(error).strip().splitlines() or [""])[0]
        return _failed(row, f"{type(error).__name__}: {reason}", "Build it anew: edgekd export --force", progress)
    return row


def _timed(
    row: BenchRow,
    runner: Runner,
    pictures: Sequence[NDArray[np.uint8]],
    settings: BenchSettings,
    machine: Machine,
    progress: Progress,
) -> BenchRow:
    framed = frame_all(pictures, runner.artefact.input)
    camera = [picture for picture in pictures if picture.shape != framed.shape[1:]] if settings.framed else []
    before = read_conditions()
    latency = measure_latency(
        runner,
        framed,
        minimum=settings.minimum,
        seconds=settings.seconds,
        batch=settings.batch,
        camera=camera,
        progress=progress,
    )
    conditions = change(before, read_conditions())
    trusted = grade(latency, conditions, machine.usable_cores)
    return replace(row, latency=latency, conditions=conditions, grade=trusted)


def require_scorable(scoring: Scoring) -> None:
    """Raise DataError, before anything is measured, when the first frame cannot be read or the protocol's crop not fit.

    The rest is found out when the frames are read: a row then has its latency and the reason.
    """
    frame = scoring.data[0]
    height, width = frame.depth.shape
    blank = np.ones((height, width), np.float32)
    try:
        place(blank, frame.depth, Framing(height, width), scoring.protocol)
    except DataError as error:
        raise DataError(f"{frame.name}: {error.message}", fix=error.fix) from error


def frame_all(pictures: Sequence[NDArray[np.uint8]], input: InputSpec) -> NDArray[np.uint8]:  # noqa: A002
    """Pictures at the network's resolution, uint8 [N, H, W, 3]; those that have it already are left as they are."""
    size = (input.height, input.width, 3)
    return np.stack([p if p.shape == size else input.framing.image(p) for p in pictures])


def _failed(row: BenchRow, reason: str, fix: str, progress: Progress) -> BenchRow:
    progress.note(f"{row.name} cannot be measured: {reason}")
    return replace(row, reason=reason, fix=fix)


def _size(artefact: Artefact) -> int:
    paths = [artefact.folder / name for name in artefact.files]
    return sum(path.stat().st_size for path in paths if path.is_file())
