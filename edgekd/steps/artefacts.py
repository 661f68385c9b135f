"""Access to a run's fp32 model, calibration set and artefacts, verified before use."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from calibration.errors import ArtefactError, RunError, UnknownNameError
from calibration.images import CalibrationSet
from calibration.progress import Progress, Quiet
from edgekd.run import Run
from targets import TARGETS
from targets.artefact import open_artefact, read_artefact
from targets.base import PRECISIONS, Artefact, Precision

__all__ = [
    "DEFAULT_PRECISIONS",
    "artefact_folder",
    "built_artefacts",
    "calibration_set",
    "choose_artefact",
    "export_step",
    "exported_names",
    "rebuilding_stale",
    "run_model",
    "stale_artefact",
]

DEFAULT_PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
"""What `edgekd export` builds if no precision is given."""

_QUIET = Quiet()
_MODELS = ("onnx/student.onnx", "onnx/teacher.onnx")
"""The fp32 models that artefacts are built from: after `edgekd distill`, and after `edgekd calibrate`."""


def run_model(run: Run) -> Path:
    """The run's fp32 ONNX model. Raises RunError, with the command that rebuilds it, when it is missing or altered."""
    made = [path for record in run.manifest.steps.values() for path in record.outputs]
    student, teacher = _MODELS
    inside = next((path for path in _MODELS if path in made), teacher if "calibrate" in run.manifest.steps else student)
    run.verify(run.folder / inside)
    return run.folder / inside


def calibration_set(run: Run) -> CalibrationSet:
    """The run's calibration set. Raises RunError or FileError when it is missing or altered."""
    run.verify(run.folder / "calibration")
    return CalibrationSet.open(run.folder / "calibration")


def export_step(name: str) -> str:
    """The name of the step in run.json that builds the artefact `<target>-<precision>`."""
    return f"export {name}"


def artefact_folder(run: Run, name: str) -> Path:
    """The folder of a run's artefact `<target>-<precision>`."""
    return run.folder / "artefacts" / name


def exported_names(run: Run) -> list[str]:
    """The names of a run's finished artefacts, in the order of TARGETS; nothing is verified."""
    names = [f"{target}-{precision}" for target in TARGETS for precision in PRECISIONS]
    finished = {step for step, record in run.manifest.steps.items() if record.finished is not None}
    return [name for name in names if export_step(name) in finished]


def built_artefacts(run: Run, targets: tuple[str, ...] = (), progress: Progress = _QUIET) -> list[Artefact]:
    """The artefacts of a run, in the order of TARGETS, or of `targets` only. An unfinished one is skipped with a note.

    Raises UnknownNameError, RunError when there are none or a file is missing or altered, ArtefactError for one that
    was built from a model other than the run's.
    """
    for name in targets:
        if name not in TARGETS:
            raise UnknownNameError("target", name, TARGETS)
    student = run.digest(run_model(run))
    found = []
    for target in dict.fromkeys(targets or TARGETS):
        for precision in PRECISIONS:
            name = f"{target}-{precision}"
            record = run.manifest.steps.get(export_step(name))
            if record is None:
                continue
            command = run.command(record.command)
            if record.finished is not None:
                found.append(replace(_open(run, name, student), rebuild=f"{command} --force"))
            else:
                progress.note(f"Skipped {name}: its build did not finish. Build it: {command}")
    if not found:
        wanted = "".join(f" --target {name}" for name in targets)
        of = f" of {' or '.join(targets)}" if targets else ""
        raise RunError(f"{run.folder} has no artefact{of}", fix=f"Build one: edgekd export {_quoted(run)}{wanted}")
    return found


def choose_artefact(run: Run, name: str | None, progress: Progress = _QUIET) -> Artefact:
    """The artefact of that name; without a name, the first that runs here, int8 before the wider precisions."""
    artefacts = {artefact.name: artefact for artefact in built_artefacts(run, progress=progress)}
    if name is not None:
        if name not in artefacts:
            raise UnknownNameError("artefact", name, artefacts)
        return artefacts[name]
    runnable = [artefact for artefact in artefacts.values() if artefact.can_run_here]
    if not runnable:
        raise ArtefactError(
            f"None of the artefacts of {run.folder} runs on this machine ({', '.join(artefacts)})",
            fix=f"Build one that does: edgekd export {_quoted(run)} --target onnxruntime",
        )
    return max(runnable, key=lambda artefact: PRECISIONS.index(artefact.precision))


def stale_artefact(folder: Path, rebuilding: str) -> ArtefactError:
    """The error for an artefact that was built from a model other than the run's; `rebuilding` is the command."""
    return ArtefactError(
        f"{folder} was built from a different model than the run now holds", fix=f"Rebuild it: {rebuilding}"
    )


def rebuilding_stale(run: Run) -> str:
    """The command that rebuilds all stale artefacts: a single export if every artefact is stale and has no options."""
    model, built = run.digest(run_model(run)), exported_names(run)
    stale = [name for name in built if _is_of_another(run, name, model)]
    commands = {name: run.manifest.steps[export_step(name)].command for name in stale}
    precisions = {name.rpartition("-")[2] for name in stale}
    plain = all(command.endswith(f" --precision {name.rpartition('-')[2]}") for name, command in commands.items())
    if len(stale) < 2 or stale != built or not plain:
        return " && ".join(f"{run.command(command)} --force" for command in commands.values())
    chosen = sorted(precisions, key=PRECISIONS.index) if precisions - {*DEFAULT_PRECISIONS} else ()
    return " ".join((f"edgekd export {_quoted(run)}", *(f"--precision {one}" for one in chosen), "--force"))


def _is_of_another(run: Run, name: str, model: str) -> bool:
    try:
        return read_artefact(artefact_folder(run, name)).student != model
    except ArtefactError:  # a damaged artefact is reported elsewhere
        return False


def _open(run: Run, name: str, student: str) -> Artefact:
    folder = artefact_folder(run, name)
    run.verify(folder)
    artefact = open_artefact(folder)
    if artefact.student != student:
        raise stale_artefact(folder, rebuilding_stale(run))
    return artefact


def _quoted(run: Run) -> str:
    return shlex.quote(str(run.folder))
