"""The artefact folder: artefact.json beside the model's files, written in full or not at all, verified when opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from calibration.errors import ArtefactError, EdgekdError, FileError
from calibration.files import fault_of, inside, read_json, sha256_file, write_json
from targets.base import PRECISIONS, Artefact, Precision
from targets.board.options import EngineOptions
from targets.input import InputSpec

__all__ = [
    "ENGINE_OPTIONS",
    "FORMAT",
    "NAME",
    "artefact_faults",
    "digest_files",
    "misfit",
    "open_artefact",
    "read_artefact",
    "rebuild_command",
    "write_artefact",
]

FORMAT = 1
"""Version of artefact.json; a reader refuses any other."""

NAME = "artefact.json"

ENGINE_OPTIONS = "engine"
"""The key in Artefact.settings that holds the EngineOptions, as text."""

_ANY = "edgekd export --force"


def rebuild_command(artefact: Artefact) -> str:
    """The command that rebuilds the artefact: the one that the run recorded, else one with its engine options."""
    if artefact.rebuild is not None:
        return artefact.rebuild
    words = ["edgekd export --target", artefact.target, "--precision", artefact.precision, "--force"]
    options = artefact.settings.get(ENGINE_OPTIONS, "")
    if options not in ("", str(EngineOptions())):
        words += ["--engine", options]
    return " ".join(words)


def misfit(artefact: Artefact, reason: str) -> ArtefactError:
    """The error for an artefact that does not fit, whose fix is the command that rebuilds it."""
    return ArtefactError(f"{artefact.folder}: {reason}", fix=f"Rebuild it: {rebuild_command(artefact)}")


def digest_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in an artefact folder except artefact.json, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}


def write_artefact(artefact: Artefact) -> None:
    """Write artefact.json into the artefact's folder."""
    write_json(artefact.folder / NAME, {"format": FORMAT, **artefact.to_json()})


def read_artefact(folder: Path) -> Artefact:
    """Read artefact.json. Raises ArtefactError when it is missing, of another format or incomplete, or when it names a
    file outside the folder."""
    folder = Path(folder)
    if not (folder / NAME).is_file():
        raise ArtefactError(f"{folder} is not an artefact: {NAME} is missing", fix="Build one: edgekd export")
    try:
        value = read_json(folder / NAME)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            found = value.get("format") if isinstance(value, dict) else None
            raise FileError(f"{folder / NAME} has format {found}; this version of edgekd reads {FORMAT}", fix=_ANY)
        artefact = _from_json(folder, value)
        for name in artefact.files:
            inside(folder, name)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ArtefactError(f"{folder / NAME} lacks a field ({error!r})", fix=f"Rebuild it: {_ANY}") from error
    except EdgekdError as error:
        raise ArtefactError(error.message, fix=f"Rebuild it: {_ANY}") from error
    return artefact


def artefact_faults(artefact: Artefact) -> list[ArtefactError]:
    """An error for each of the artefact's files that is missing or altered."""
    faults = ((name, fault_of(artefact.folder / name, digest)) for name, digest in artefact.files.items())
    return [misfit(artefact, f"{name} {fault}") for name, fault in faults if fault is not None]


def open_artefact(folder: Path) -> Artefact:
    """Read and verify an artefact.

    Raises ArtefactError with the command that rebuilds it when artefact.json is missing, of another format or
    incomplete, or when a file is missing or altered. Whether it fits this machine is checked by its target's `open`.
    """
    artefact = read_artefact(folder)
    for fault in artefact_faults(artefact):
        raise fault
    return artefact


def _from_json(folder: Path, value: dict[str, Any]) -> Artefact:
    precision = value["precision"]
    if precision not in PRECISIONS or value["model"] not in value["files"]:
        raise ValueError(f"precision {precision!r}, model {value['model']!r}")
    return Artefact(
        folder=folder,
        target=str(value["target"]),
        precision=cast(Precision, precision),
        input=InputSpec.from_json(value["input"]),
        model=str(value["model"]),
        files={str(name): str(digest) for name, digest in value["files"].items()},
        student=str(value["student"]),
        calibration=_text(value["calibration"]),
        versions={str(name): str(version) for name, version in value["versions"].items()},
        device=_text(value["device"]),
        can_run_here=bool(value["can_run_here"]),
        device_command=_text(value["device_command"]),
        settings={str(name): str(setting) for name, setting in value["settings"].items()},
        drift={str(name): float(number) for name, number in value["drift"].items()},
        drift_on=_text(value["drift_on"]),
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
