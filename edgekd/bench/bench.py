"""Measuring artefacts on this machine: latency under watched conditions, and accuracy of the same files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError, EdgekdError, MissingRuntimeError
from calibration.progress import Progress
from calibration.reasons import out_of_memory
from edgekd.bench.cold import measure_cold
from edgekd.bench.conditions import read_conditions, summarise
from edgekd.bench.flicker import Flicker, measure_flicker
from edgekd.bench.latency import feeds_of, measure_latency
from edgekd.bench.machine import Machine, describe_machine
from edgekd.bench.result import BenchResult, BenchRow
from edgekd.bench.streams import measure_throughput
from edgekd.bench.timing import ENOUGH
from edgekd.evaluate.datasets.frame import DepthDataset
from edgekd.evaluate.evaluate import evaluate
from edgekd.evaluate.protocols import ScoringProtocol
from edgekd.evaluate.scorable import require_scorable
from targets import get_target
from targets.artefact import rebuild_command
from targets.base import Artefact, Runner, RunnerOptions
from targets.elsewhere import why_elsewhere
from targets.feeding import infer_each
from targets.input import InputSpec

__all__ = ["BenchSettings", "Clip", "Scoring", "bench", "frame_pictures"]

_MOST_STREAMS = 8
_THROUGHPUT_SECONDS = 3.0


@dataclass(frozen=True)
class BenchSettings:
    """How latency is measured. `device` None means each artefact's own, `streams` None as many as the cores hold."""

    threads: int = 1
    device: str | None = None
    batch: int = 1
    minimum: int = ENOUGH  # inferences
    seconds: float = 5.0
    streams: int | None = None
    cold: bool = True  # load time, first inference and memory, in processes of their own
    framed: bool = True  # measure a second time with a camera's picture framed before each inference

    def __post_init__(self) -> None:
        counts = {"threads": self.threads, "batch": self.batch, "minimum": self.minimum, "streams": self.streams}
        for name, count in counts.items():
            if count is not None and count < 1:
                raise DataError(f"A bench with {name} {count} cannot be run", fix="Use at least 1")
        if not 0 <= self.seconds < float("inf"):
            raise DataError(f"A bench of {self.seconds} s per artefact cannot be run", fix="Use 0 seconds or more")

    def streams_on(self, machine: Machine) -> int:
        """How many streams throughput is measured with: at least two, as latency covers one."""
        return self.streams or max(2, min(int(machine.usable_cores // self.threads), _MOST_STREAMS))


@dataclass(frozen=True)
class Scoring:
    """Data to score on, and how."""

    data: DepthDataset
    protocol: ScoringProtocol
    spec: str = ""  # the path of the data, as it was given


@dataclass(frozen=True)
class Clip:
    """Frames to measure flicker on: shots uint8 [T, H, W, 3] of pictures of any one size."""

    shots: tuple[NDArray[np.uint8], ...]
    about: str
    spec: str | None = None  # its path, as it was given


@dataclass
class _Bench:
    """What all rows of one bench share."""

    pictures: Sequence[NDArray[np.uint8]]
    settings: BenchSettings
    machine: Machine
    progress: Progress
    scoring: Scoring | None
    clip: Clip | None
    fp32_clips: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)  # by target

    def row(self, artefact: Artefact) -> BenchRow:
        row = BenchRow(
            name=artefact.name,
            target=artefact.target,
            precision=artefact.precision,
            size=_size(artefact),
            model=artefact.files.get(artefact.model, ""),
            student=artefact.student,
            calibration=artefact.calibration,
            built=dict(artefact.settings),
            drift=dict(artefact.drift),
            drift_on=artefact.drift_on,
        )
        if (elsewhere := why_elsewhere(artefact)) is not None:
            return replace(row, reason=elsewhere.reason, fix=elsewhere.fix, missing=elsewhere.missing)
        try:
            return self._measured(row, artefact)
        except _PartError as error:
            row, cause = error.row, error.cause
        except Exception as error:  # runtimes' errors have no common base class; the other artefacts still count
            cause = error
        if isinstance(cause, EdgekdError):
            reason, fix = cause.message, cause.fix
        elif out_of_memory(cause):
            reason = "out of memory"
            fix = "Close other programs, or use a smaller --batch, or fewer --streams"
        else:
            line = (str(cause).strip().splitlines() or [""])[0]
            reason, fix = f"{type(cause).__name__}: {line}", f"Rebuild it: {rebuild_command(artefact)}"
        self.progress.note(f"{row.name} cannot be measured: {reason}")
        return replace(row, reason=reason, fix=fix, missing=isinstance(cause, MissingRuntimeError))

    def _measured(self, row: BenchRow, artefact: Artefact) -> BenchRow:
        """Measure part by part, so that what was measured before a failure is kept."""
        options = RunnerOptions(self.settings.threads, self.settings.device)
        target = get_target(artefact.target)
        try:
            with target.open(artefact, options) as runner:
                framed = frame_pictures(self.pictures, artefact.input)
                row = self._latency(row, runner, framed)
                if self.scoring is not None:
                    data, protocol = self.scoring.data, self.scoring.protocol
                    scored = evaluate(runner.infer, artefact.input, data, protocol, self.progress)
                    row = replace(row, evaluation=scored)
            feeds, streams = feeds_of(framed, self.settings.batch), self.settings.streams_on(self.machine)
            throughput = measure_throughput(
                lambda: target.open(artefact, options),
                feeds,
                streams,
                min(self.settings.seconds, _THROUGHPUT_SECONDS),
                self.machine.usable_cores,
            )
            row = replace(row, throughput=throughput)
            if self.settings.cold:
                row = replace(row, cold=measure_cold(artefact, options.threads, options.device))
            if self.clip is not None:  # last: where the depth of a clip is not finite, only the flicker is missing
                with target.open(artefact, options) as runner:
                    row = replace(row, flicker=self._flicker(runner, self.clip))
        except Exception as error:
            raise _PartError(row, error) from error
        return row

    def _latency(self, row: BenchRow, runner: Runner, framed: NDArray[np.uint8]) -> BenchRow:
        settings = self.settings
        camera = [picture for picture in self.pictures if picture.shape != framed.shape[1:]] if settings.framed else []
        latency = measure_latency(
            runner,
            framed,
            minimum=settings.minimum,
            seconds=settings.seconds,
            batch=settings.batch,
            camera=camera,
            usable_cores=self.machine.usable_cores,
            progress=self.progress,
        )
        return replace(row, latency=latency)

    def _flicker(self, runner: Runner, clip: Clip) -> Flicker:
        artefact = runner.artefact
        depths = []
        for shot in clip.shots:
            frames = frame_pictures(shot, artefact.input)
            depths.append(infer_each(runner, frames))
        if artefact.precision == "fp32":
            self.fp32_clips[artefact.target] = depths
            return measure_flicker(depths, None)
        same = self.fp32_clips.get(artefact.target)
        return measure_flicker(depths, same or next(iter(self.fp32_clips.values()), None))


class _PartError(Exception):
    """A part of a row failed; `row` holds the parts before it."""

    def __init__(self, row: BenchRow, cause: Exception) -> None:
        self.row, self.cause = row, cause


def bench(
    artefacts: Sequence[Artefact],
    pictures: Sequence[NDArray[np.uint8]],
    about_pictures: str,
    settings: BenchSettings,
    progress: Progress,
    *,
    scoring: Scoring | None = None,
    clip: Clip | None = None,
    run: str = "",
) -> BenchResult:
    """One row for each artefact, in the order given.

    `pictures` are uint8 [h, w, 3]: of the network's resolution, or of any other and framed for it. An artefact that
    cannot run here, or fails while it runs, is a row with the reason and what was measured before. Raises DataError
    without artefacts or pictures, and what `require_scorable` raises for the data: nothing is measured then.
    """
    if not artefacts:
        raise DataError("There are no artefacts to measure", fix="Build some: edgekd export")
    if not pictures:
        raise DataError("There are no pictures to measure latency on", fix="Pass at least two")
    if scoring is not None:
        require_scorable(scoring.data, scoring.protocol, progress)
    machine = describe_machine()
    idle = _idle_watts()
    bench = _Bench(pictures, settings, machine, progress, scoring, clip)
    rows = []
    for number, artefact in enumerate(artefacts, start=1):
        progress.note(f"Measuring {artefact.name} ({number} of {len(artefacts)})")
        rows.append(bench.row(artefact))
    return BenchResult(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        run=run,
        machine=machine,
        settings={**asdict(settings), "streams": settings.streams_on(machine)},
        pictures=about_pictures,
        clip=None if clip is None else clip.about,
        data=None if scoring is None else scoring.spec,
        idle_watts=idle,
        rows=tuple(rows),
    )


def frame_pictures(pictures: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], input: InputSpec) -> NDArray[np.uint8]:  # noqa: A002
    """Pictures at the network's resolution, uint8 [N, H, W, 3]; those that already have it are unchanged."""
    size = (input.height, input.width, 3)
    return np.stack([p if p.shape == size else input.framing.image(p) for p in pictures])


def _idle_watts() -> dict[str, float]:
    """The machine's power while nothing is inferred; returns at once where no sensor can be read."""
    first = read_conditions()
    if not (first.power.rails or first.power.counters):
        return {}
    time.sleep(1)
    return dict(summarise([first, read_conditions()]).watts)


def _size(artefact: Artefact) -> int:
    paths = [artefact.folder / name for name in artefact.files]
    return sum(path.stat().st_size for path in paths if path.is_file())
