"""run.json: plain data about a run, read strictly and written completely or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from calibration.errors import RunError
from calibration.files import read_json, write_json

__all__ = ["FORMAT", "NAME", "FileRecord", "Manifest", "StepRecord", "TeacherRecord", "differences", "now", "plain"]

FORMAT = 1
"""Version of run.json; a reader refuses any other."""

NAME = "run.json"

_UNSET = "unset"
_NEW = "Start a new run with another --out"


@dataclass(frozen=True)
class FileRecord:
    """A file as it was when its step finished."""

    sha256: str
    size: int  # bytes


@dataclass(frozen=True)
class TeacherRecord:
    """The network that the run's depth comes from."""

    name: str
    spec: str  # as given by the user
    digest: str
    source: str  # one line for people
    metric: bool = True  # whether its depth is in metres

    @property
    def caution(self) -> str | None:
        """A caution for readers of the depth; None if it is in metres."""
        if self.metric:
            return None
        return f"The depth of {self.name} has no known unit, though labelled metres: only ratios are meaningful"


@dataclass(frozen=True)
class StepRecord:
    """One step: `inputs` maps names to digests, `outputs` paths inside the run to files. Unfinished steps have no
    `finished`."""

    asked: Mapping[str, Any]
    inputs: Mapping[str, str]
    command: str  # rebuilds the step's outputs; {run} stands for the run's folder
    started: str
    versions: Mapping[str, str]
    outputs: Mapping[str, FileRecord] = field(default_factory=dict)
    finished: str | None = None
    seconds: float | None = None  # of the last attempt only, if the step was interrupted


@dataclass(frozen=True)
class Manifest:
    """Everything in run.json."""

    created: str
    edgekd: str
    teacher: TeacherRecord | None = None
    steps: Mapping[str, StepRecord] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write run.json, completely or not at all."""
        write_json(folder / NAME, {"format": FORMAT, **asdict(self)})

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read run.json. Raises FileError or RunError when it is missing, truncated or of another format."""
        path = folder / NAME
        value = read_json(path)
        found = value.get("format") if isinstance(value, dict) else None
        if found != FORMAT:
            raise RunError(f"{path} has format {found}; this version of edgekd reads {FORMAT}", fix=_NEW)
        try:
            teacher = value["teacher"]
            return cls(
                created=str(value["created"]),
                edgekd=str(value["edgekd"]),
                teacher=None if teacher is None else TeacherRecord(**teacher),
                steps={str(name): _step(step) for name, step in value["steps"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RunError(f"{path} lacks a field ({error!r})", fix=_NEW) from error


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """The value after a round trip through JSON, so that what is asked can be compared with what was recorded."""
    return dict(json.loads(json.dumps(dict(value), allow_nan=False)))


def differences(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """One phrase for each entry that differs, such as `steps 2000 instead of 500` (recorded, then asked)."""
    found: list[str] = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, _UNSET), after.get(name, _UNSET)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            found.append(f"{prefix}{name} {_word(old)} instead of {_word(new)}")
    return found


def now() -> str:
    """The time in UTC, in ISO 8601 with microseconds, which sorts as text."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def _step(value: Mapping[str, Any]) -> StepRecord:
    outputs = {str(path): FileRecord(**record) for path, record in value["outputs"].items()}
    for path in outputs:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ValueError(f"{path!r} lies outside the run")
    step = StepRecord(**{**value, "outputs": outputs})
    for name, kind in (("asked", dict), ("inputs", dict), ("versions", dict), ("command", str), ("started", str)):
        if not isinstance(getattr(step, name), kind):
            raise TypeError(f"{name} is not of type {kind.__name__}")
    return step


def _word(value: Any) -> str:
    if value is None:
        return "off"
    return "on" if isinstance(value, Mapping) else str(value)
