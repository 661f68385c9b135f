"""Builds a run's artefacts for targets and precisions, skipping those up to date, and reports what cannot be built."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from calibration.errors import BudgetError, EdgekdError, MissingRuntimeError, UsageError
from calibration.images import CalibrationSet
from calibration.progress import Progress
from edgekd.bench.latency import measure_latency
from edgekd.run import Run
from edgekd.steps.artefacts import DEFAULT_PRECISIONS, artefact_folder, calibration_set, export_step, run_model
from targets import all_targets, get_target
from targets.artefact import open_artefact, write_artefact
from targets.base import PRECISIONS, Artefact, BuildOptions, Precision, RunnerOptions, Status, Target
from targets.board.options import EngineOptions
from targets.cost import FloatLayer, price_float_layers
from targets.engine import require_first_gpu
from targets.graph import read_graph
from targets.quantise import RECIPE, Budget, calibrate

__all__ = ["ExportResult", "ExportSettings", "Exported", "NotExported", "export_run"]

_GLANCED_ON = 8  # pictures for a quick measurement of latency
_BUDGET = "budget"  # the key in Artefact.settings that marks one over its accuracy budget


@dataclass(frozen=True)
class ExportSettings:
    """What to build. Empty `targets` mean all that can build here; `max_drift` limits the mean relative depth error."""

    targets: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()  # empty: fp32 and int8, as far as a target has them
    device: str | None = None
    max_drift: float | None = None
    force: bool = False
    engine: EngineOptions = field(default_factory=EngineOptions)  # for the TensorRT targets

    def __post_init__(self) -> None:
        for precision in self.precisions:
            if precision not in PRECISIONS:
                raise UsageError(
                    f"There is no precision named {precision!r}", fix=f"Choose one of: {', '.join(PRECISIONS)}"
                )
        if self.engine != EngineOptions() and self.targets and not any("tensorrt" in name for name in self.targets):
            raise UsageError(
                f"Engine options are for TensorRT, but the targets are {', '.join(self.targets)}",
                fix="Omit --engine, or add --target tensorrt",
            )
        if self.max_drift is not None and not 0 < self.max_drift < 1:
            raise UsageError(f"A drift budget of {self.max_drift} is out of range", fix="Use a value between 0 and 1")


@dataclass(frozen=True)
class Exported:
    """An artefact that is up to date; `fresh` if it was built just now."""

    artefact: Artefact
    fresh: bool
    milliseconds: float | None = None  # of one inference here, a rough figure; `edgekd bench` measures it carefully

    @property
    def size(self) -> int:
        """Bytes of the model's files."""
        return sum((self.artefact.folder / name).stat().st_size for name in self.artefact.files)

    @property
    def over_budget(self) -> bool:
        return _BUDGET in self.artefact.settings


@dataclass(frozen=True)
class NotExported:
    """What was not built and why; with an error if a build was attempted."""

    name: str  # of the target or the artefact
    reason: str
    fix: str
    error: EdgekdError | None = None


@dataclass(frozen=True)
class ExportResult:
    """The outcome of an export."""

    exported: tuple[Exported, ...]
    left_out: tuple[NotExported, ...]
    float_layers: tuple[FloatLayer, ...] = ()  # the same for all int8 artefacts built just now

    def raise_errors(self) -> None:
        """Raise the first build error, if any."""
        for left_out in self.left_out:
            if left_out.error is not None:
                raise left_out.error

    def raise_failures(self, settings: ExportSettings) -> None:
        """Raise the first build error, or BudgetError for artefacts over the budget; to be called after showing all."""
        self.raise_errors()
        over = [exported.artefact for exported in self.exported if exported.over_budget]
        if over:
            found = ", ".join(f"{artefact.name} {artefact.drift['abs_rel']:.4f}" for artefact in over)
            raise BudgetError(
                f"Over the drift budget of {settings.max_drift}: {found}; kept and marked",
                fix="Raise --max-drift, use a wider --precision, or distil longer",
            )


def export_run(run: Run, settings: ExportSettings, progress: Progress) -> ExportResult:
    """Build the requested artefacts that are not up to date.

    A build that fails is part of the result, beside those that succeeded. Raises UnknownNameError, MissingRuntimeError
    for a target requested by name that cannot build here, RunError or RunLockedError.
    """
    targets = [get_target(name) for name in dict.fromkeys(settings.targets)] or all_targets()
    with run.lock(progress):
        run_model(run)
        calibration = calibration_set(run)
        exported: list[Exported] = []
        left_out: list[NotExported] = []
        jobs = _jobs(targets, settings, left_out)
        for left in left_out:
            progress.note(f"Skipped {left.name}: {EdgekdError(left.reason, fix=left.fix)}")
        with progress.task("Exporting", total=len(jobs)) as advance:
            for target, status, precision in jobs:
                try:
                    exported.append(_export(run, target, status, precision, calibration, settings, progress))
                except EdgekdError as error:
                    name = f"{target.name}-{precision}"
                    progress.note(f"{name} was not built: {error.message}")
                    left_out.append(NotExported(name, error.message, error.fix, error))
                advance(1)
        glanced = tuple(_glance(found, calibration, progress) for found in exported)
        priced = _float_layers(run, glanced, calibration, settings, progress)
    return ExportResult(glanced, tuple(left_out), priced)


def _jobs(
    targets: list[Target], settings: ExportSettings, left_out: list[NotExported]
) -> list[tuple[Target, Status, Precision]]:
    jobs = []
    for target in targets:
        status = target.status()
        if not status.can_build:
            missing = status.missing or f"{target.name} cannot build on this machine"
            if settings.targets:
                raise MissingRuntimeError(missing, fix=status.fix or "Export on the device")
            left_out.append(NotExported(target.name, missing, status.fix or "Export on the device"))
            continue
        if not settings.targets and target.name.startswith("tensorrt"):
            try:
                require_first_gpu(target.name, settings.device)
            except UsageError as error:  # the device is for the other runtimes
                left_out.append(NotExported(target.name, error.message, error.fix))
                continue
        for precision in dict.fromkeys(cast("tuple[Precision, ...]", settings.precisions) or DEFAULT_PRECISIONS):
            if precision in status.precisions:
                jobs.append((target, status, precision))
                continue
            reason, fix = f"{target.name} has no {precision}", f"It has {', '.join(status.precisions)}"
            if settings.targets and settings.precisions:
                raise UsageError(reason, fix=fix)
            left_out.append(NotExported(f"{target.name}-{precision}", reason, fix))
    return jobs


def _export(
    run: Run,
    target: Target,
    status: Status,
    precision: Precision,
    calibration: CalibrationSet,
    settings: ExportSettings,
    progress: Progress,
) -> Exported:
    model = run_model(run)
    name = f"{target.name}-{precision}"
    step, folder = export_step(name), artefact_folder(run, name)
    inputs = {"model": run.digest(model), "calibration": calibration.digest}
    asked = {"target": target.name, "precision": precision, "device": settings.device, "runtime": status.version}
    command = f"edgekd export {{run}} --target {target.name} --precision {precision}"
    command += "" if settings.device is None else f" --device {shlex.quote(settings.device)}"
    if target.name.startswith("tensorrt") and settings.engine != EngineOptions():
        asked["engine"] = str(settings.engine)
        command += f" --engine {settings.engine}"
    if precision == "int8":
        asked |= {"recipe": str(RECIPE), "max_drift": None if settings.max_drift is None else str(settings.max_drift)}
        command += "" if settings.max_drift is None else f" --max-drift {settings.max_drift}"
    fresh = settings.force or not run.is_done(step, inputs=inputs, asked=asked)
    if not fresh and status.can_run and not open_artefact(folder).can_run_here:
        progress.note(f"{name} was built on a machine without the device; rebuilding it for this one")
        fresh = True
    if fresh:
        with run.step(step, inputs=inputs, asked=asked, command=command, keeps_earlier=True) as made:
            options = BuildOptions(settings.device, settings.engine, settings.max_drift)
            target.build(model, precision, calibration, options, progress, into=folder)
            made.add(folder)
    else:
        progress.note(f"{name} is up to date: same model, same pictures, same runtime (--force rebuilds it)")
    artefact = open_artefact(folder)
    marked = _marked(artefact, settings.max_drift)
    if marked.settings != artefact.settings:
        with run.step(step, inputs=inputs, asked=asked, command=command) as made:
            write_artefact(marked)
            made.add(folder)
    return Exported(marked, fresh)


def _glance(exported: Exported, calibration: CalibrationSet, progress: Progress) -> Exported:
    """The same, with a latency if the artefact runs here and was built just now."""
    artefact = exported.artefact
    if not (exported.fresh and artefact.can_run_here):
        return exported
    pictures = np.asarray(calibration.images[:_GLANCED_ON])
    try:
        with get_target(artefact.target).open(artefact, RunnerOptions()) as runner:
            latency = measure_latency(runner, pictures, minimum=50, seconds=0.3, progress=progress)
    except EdgekdError as error:
        progress.note(f"{artefact.name} was built but not timed: {error.message}")
        return exported
    return replace(exported, milliseconds=latency.p50)


def _float_layers(
    run: Run,
    exported: Sequence[Exported],
    calibration: CalibrationSet,
    settings: ExportSettings,
    progress: Progress,
) -> tuple[FloatLayer, ...]:
    """The layers that int8 left in float and what they cost; empty if no int8 artefact was built just now."""
    if not any(found.fresh and found.artefact.precision == "int8" for found in exported):
        return ()
    images, held_out = calibration.split()
    budget = None if settings.max_drift is None else Budget(settings.max_drift, np.asarray(held_out))
    # This does not calibrate again: `calibrate` keeps its last result, which the builds used.
    calibrated = calibrate(read_graph(run_model(run)), images, progress, budget)
    return tuple(price_float_layers(calibrated, np.asarray(images[:1]), progress))


def _marked(artefact: Artefact, budget: float | None) -> Artefact:
    """The artefact, marked if its drift is over this budget and unmarked otherwise."""
    marks = {name: value for name, value in artefact.settings.items() if name != _BUDGET}
    drift = artefact.drift.get("abs_rel")
    if budget is not None and drift is not None and drift > budget:
        marks[_BUDGET] = f"drift {drift:.4f} is over {budget}"
    return replace(artefact, settings=marks)
