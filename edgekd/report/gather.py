"""Everything in a report, read from the folders of runs; missing or damaged parts are reported, never an error."""

from __future__ import annotations

import contextlib
import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.coverage import Coverage, measure_coverage
from calibration.errors import EdgekdError
from calibration.files import read_json
from calibration.images import CalibrationSet
from calibration.wording import counted
from edgekd.bench.gallery import Gallery
from edgekd.bench.machine import Machine
from edgekd.bench.result import BenchResult, BenchRow, threads_and_batch
from edgekd.evaluate.evaluate import Evaluation
from edgekd.run import Run
from edgekd.steps.artefacts import calibration_set, run_model

__all__ = ["Benched", "Entry", "ReportedRun", "Story", "gather", "same_pixels"]


@dataclass(frozen=True)
class Benched:
    """One bench file, and the pictures that were kept beside it."""

    path: Path
    result: BenchResult
    gallery: Gallery | None


@dataclass(frozen=True)
class ReportedRun:
    """One run folder."""

    run: Run
    name: str  # distinguishes it from the other runs of the report
    benches: tuple[Benched, ...]  # newest first
    curves: Mapping[str, tuple[tuple[int, float], ...]]  # (step, value) by name of the logged value
    preview: Path | None
    calibration: str | None  # what the set is, and its size
    coverage: Coverage | None
    coverage_files: Mapping[str, Any]  # JSON by path inside the run
    missing: tuple[str, ...]  # what could not be read, and why


@dataclass(frozen=True)
class Entry:
    """One artefact of one run on one machine under one setting: a row of the report's tables."""

    run: str
    machine: Machine
    settings: Mapping[str, Any]
    created: str
    row: BenchRow  # of the newest bench
    scores: tuple[Evaluation, ...]  # of every data set and protocol it was scored on, newest first

    @property
    def device(self) -> str:
        return self.machine.title

    @property
    def setting(self) -> str:
        """In words: threads, batch, and the runtime's device where one was chosen."""
        words, device = threads_and_batch(self.settings), self.settings.get("device")
        return words if device is None else f"{words}, {device}"

    @property
    def measured(self) -> bool:
        return self.row.latency is not None


@dataclass(frozen=True)
class Story:
    """What a report is about."""

    runs: tuple[ReportedRun, ...]
    entries: tuple[Entry, ...] = ()

    @property
    def protocols(self) -> tuple[Evaluation, ...]:
        """One evaluation for each protocol and data set: their figures never share a column."""
        found = {(score.protocol, score.digest): score for entry in self.entries for score in entry.scores}
        return tuple(found.values())

    def scored(self, protocol: Evaluation) -> list[tuple[Entry, Evaluation]]:
        """The entries that were scored by this protocol on these data."""
        pairs = [(entry, score) for entry in self.entries for score in entry.scores]
        return [pair for pair in pairs if (pair[1].protocol, pair[1].digest) == (protocol.protocol, protocol.digest)]


def same_pixels(scored: Sequence[tuple[Entry, Evaluation]]) -> bool:
    """Whether all saw the same part of the pictures, so that their accuracy may be ranked."""
    return len({score.pixels for _, score in scored}) == 1


def gather(runs: Sequence[Run]) -> Story:
    """Read the runs. Runs that share a name are named by their folders."""
    names = [run.name for run in runs]
    told = [run.name if names.count(run.name) == 1 else str(run.folder) for run in runs]
    reported = tuple(_read(run, name) for run, name in zip(runs, told, strict=True))
    return Story(reported, tuple(entry for one in reported for entry in _entries(one)))


def _entries(reported: ReportedRun) -> list[Entry]:
    """Merge benches of one machine and setting: latency of the newest, accuracy of each protocol and data set."""
    groups: dict[tuple[Any, ...], list[tuple[BenchResult, BenchRow]]] = {}
    for benched in reported.benches:
        result = benched.result
        setting = tuple(result.settings.get(name) for name in ("threads", "batch", "device"))
        for row in result.rows:
            key = (result.machine.device, result.machine.power_mode, setting, row.name, row.model)
            groups.setdefault(key, []).append((result, row))
    newest = {key[:4]: key for key in reversed(list(groups))}  # a rebuilt artefact replaces the old one
    entries = []
    for key in newest.values():
        found = groups[key]
        result, row = next((pair for pair in found if pair[1].latency is not None), found[0])
        scores: dict[tuple[str, str], Evaluation] = {}
        for _, other in found:
            if other.evaluation is not None:
                scores.setdefault((other.evaluation.protocol, other.evaluation.digest), other.evaluation)
        entries.append(
            Entry(reported.name, result.machine, result.settings, result.created, row, tuple(scores.values()))
        )
    order = {row.name: place for benched in reported.benches for place, row in enumerate(benched.result.rows)}
    return sorted(entries, key=lambda entry: (entry.device, order[entry.row.name]))


def _read(run: Run, name: str) -> ReportedRun:
    missing: list[str] = []
    benches = _benches(run, missing)
    missing += _stale(run, benches)
    if not benches:
        missing.append(f"{run.folder} was not measured: edgekd bench {shlex.quote(str(run.folder))}")
    calibration, coverage = None, None
    try:
        images = CalibrationSet.open(run.folder / "calibration")
        calibration = f"{counted(images.count, 'picture')} of {images.width}x{images.height}: {images.origin}"
        coverage = measure_coverage(images.images)
    except EdgekdError as error:
        missing.append(f"Calibration set: {error.message}")
    previews = sorted((run.folder / "previews").glob("[0-9]*.png"))
    if not previews:
        missing.append(f"{run.folder} has no previews of its pictures")
    return ReportedRun(
        run=run,
        name=name,
        benches=benches,
        curves=_curves(run.folder / "metrics.jsonl", missing),
        preview=previews[-1] if previews else None,
        calibration=calibration,
        coverage=coverage,
        coverage_files=_coverage_files(run.folder, missing),
        missing=tuple(missing),
    )


def _stale(run: Run, benches: Sequence[Benched]) -> Iterator[str]:
    """Artefacts whose figures are of another student or other pictures than the run's, or of an older build.

    Judged by what they are built from, not by their files: an engine that a board built for itself is another file.
    """
    newest: dict[str, BenchRow] = {}
    for benched in benches:
        for row in benched.result.rows:
            newest.setdefault(row.name, row)
    folder, now = shlex.quote(str(run.folder)), _held_now(run)
    for name, row in newest.items():
        exported = run.manifest.steps.get(f"export {name}")
        again = f"edgekd export {folder}" if exported is None else run.command(exported.command)
        measured = {"model": row.student} | ({"calibration": row.calibration} if row.calibration else {})
        built = {**measured, **({} if exported is None else exported.inputs)}
        held = {**built, **now}
        if any(held[kind] != built[kind] for kind in measured):
            yield (
                f"{name} and its figures are of another student or calibration set than the run now holds: "
                f"{again} && edgekd bench {folder}"
            )
        elif any(built[kind] != measured[kind] for kind in measured):
            older = "was rebuilt since it was measured, so its figures are of an older one"
            yield f"{name} {older}: edgekd bench {folder}"


def _held_now(run: Run) -> dict[str, str]:
    """Digests of the run's fp32 model and of its calibration set, as far as they are intact."""
    found = {}
    with contextlib.suppress(EdgekdError):
        found["model"] = run.digest(run_model(run))
    with contextlib.suppress(EdgekdError):
        found["calibration"] = calibration_set(run).digest
    return found


def _benches(run: Run, missing: list[str]) -> tuple[Benched, ...]:
    found = []
    for path in sorted((run.folder / "bench").glob("*.json")):
        try:
            result = BenchResult.read(path)
        except EdgekdError as error:
            missing.append(error.message)
            continue
        kept = path.with_suffix(".npz")
        gallery = None
        if kept.is_file():
            try:
                gallery = Gallery.read(kept)
            except EdgekdError as error:
                missing.append(error.message)
        found.append(Benched(path, result, gallery))
    return tuple(sorted(found, key=lambda benched: benched.result.created, reverse=True))


def _curves(path: Path, missing: list[str]) -> dict[str, tuple[tuple[int, float], ...]]:
    curves: dict[str, list[tuple[int, float]]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        missing.append(f"{path} is missing: no training curves")
        return {}
    for line in lines:
        try:
            values = json.loads(line)
            step = int(values.pop("step"))
            for name, value in values.items():
                if isinstance(value, (int, float)) and math.isfinite(value) and name != "seconds":
                    curves.setdefault(str(name), []).append((step, float(value)))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            continue  # a partial line left by a killed process
    return {name: tuple(points) for name, points in curves.items()}


def _coverage_files(folder: Path, missing: list[str]) -> dict[str, Any]:
    """What other verbs wrote about how well the pictures cover the network's ranges."""
    found = {}
    for path in sorted(folder.glob("**/*coverage*.json")):
        try:
            found[path.relative_to(folder).as_posix()] = read_json(path)
        except EdgekdError as error:
            missing.append(error.message)
    return found
