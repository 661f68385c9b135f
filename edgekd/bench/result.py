"""What a bench gives: one row an artefact, in a file that later versions can read or refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from calibration.errors import DataError
from calibration.files import read_json, write_json
from edgekd.bench.conditions import Change
from edgekd.bench.grade import Grade
from edgekd.bench.latency import Latency
from edgekd.bench.machine import Machine
from edgekd.evaluate.evaluate import Evaluation

__all__ = ["SCHEMA", "BenchResult", "BenchRow"]

SCHEMA = 1
"""Version of the JSON; a reader refuses any other."""


@dataclass(frozen=True)
class BenchRow:
    """One artefact. Where it could not run, or not to the end, `reason` and `fix` say why."""

    name: str
    target: str
    precision: str
    size: int  # bytes of the model's files
    student: str  # digest of the fp32 ONNX it was built from
    calibration: str | None = None  # digest of the calibration set
    drift: Mapping[str, float] = field(default_factory=dict)  # from the fp32 student, when it was built
    drift_on: str | None = None
    opened: float | None = None  # milliseconds to open the artefact
    latency: Latency | None = None
    conditions: Change | None = None
    grade: Grade | None = None
    evaluation: Evaluation | None = None
    reason: str | None = None
    fix: str | None = None


@dataclass(frozen=True)
class BenchResult:
    """All artefacts of one bench on one machine."""

    created: str  # ISO 8601, UTC
    machine: Machine
    settings: Mapping[str, float | str | None]  # threads, device, batch, minimum, seconds
    pictures: str  # one line: on which pictures latency was measured
    rows: tuple[BenchRow, ...]
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Plain values, all of them finite."""
        rows = []
        for row in self.rows:
            value = asdict(row)
            value["evaluation"] = None if row.evaluation is None else row.evaluation.to_json()
            rows.append(value)
        return {**asdict(self), "rows": rows}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BenchResult:
        """The inverse of `to_json`. Raises DataError for another schema, or when a field is missing or wrong."""
        again = "Measure anew with `edgekd bench`"
        found = value.get("schema") if isinstance(value, Mapping) else None
        if found != SCHEMA:
            raise DataError(f"The bench result has schema {found}, this version of edgekd reads {SCHEMA}", fix=again)
        try:
            return cls(
                created=str(value["created"]),
                machine=Machine.from_json(value["machine"]),
                settings=dict(value["settings"]),
                pictures=str(value["pictures"]),
                rows=tuple(_row(row) for row in value["rows"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"A bench result cannot be read ({error!r})", fix=again) from error

    def write(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        write_json(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> BenchResult:
        """The inverse of `write`. Raises FileError or DataError."""
        try:
            return cls.from_json(read_json(path))
        except DataError as error:
            raise DataError(f"{path}: {error.message}", fix=error.fix) from error


def _row(value: Mapping[str, Any]) -> BenchRow:
    fields = {name: value[name] for name in BenchRow.__dataclass_fields__}
    readers: dict[str, Callable[[Any], Any]] = {
        "latency": Latency.from_json,
        "conditions": Change.from_json,
        "grade": Grade.from_json,
        "evaluation": Evaluation.from_json,
    }
    for name, read in readers.items():
        fields[name] = None if fields[name] is None else read(fields[name])
    return BenchRow(**fields)
