"""The result of a bench: one row per artefact, in a file that later versions can read or refuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from calibration.errors import DataError
from calibration.files import read_json, write_json
from edgekd.bench.cold import Cold
from edgekd.bench.flicker import Flicker
from edgekd.bench.latency import Latency
from edgekd.bench.machine import Machine
from edgekd.bench.streams import Throughput
from edgekd.evaluate.evaluate import Evaluation
from edgekd.plain import LATER, read_plain

__all__ = ["SCHEMA", "BenchResult", "BenchRow", "threads_and_batch"]

SCHEMA = 2
"""Version of the JSON; a reader refuses any other."""


@dataclass(frozen=True)
class BenchRow:
    """One artefact. Where it could not run, or not to the end, `reason` and `fix` say why.

    All figures are of the same files, inferred in one pass per picture.
    """

    name: str
    target: str
    precision: str
    size: int  # bytes of the model's files
    model: str  # sha256 of the model file
    student: str  # digest of the fp32 ONNX it was built from
    calibration: str | None = None  # digest of the calibration set
    built: Mapping[str, str] = field(default_factory=dict)  # what was decided when it was built
    drift: Mapping[str, float] = field(default_factory=dict)  # from the fp32 student, when it was built
    drift_on: str | None = None
    latency: Latency | None = None
    throughput: Throughput | None = None
    cold: Cold | None = None
    flicker: Flicker | None = None
    evaluation: Evaluation | None = None
    reason: str | None = None
    fix: str | None = None
    missing: bool = field(default=False, metadata=LATER)  # the reason is a runtime or a device that is missing

    @property
    def millijoules(self) -> float | None:
        """Millijoules per picture while latency was measured, from the sensors that `Conditions.energy_from` names."""
        if self.latency is None:
            return None
        infer = self.latency.infer
        joules = infer.conditions.joules
        return None if joules is None else 1000 * joules / (infer.timing.samples * self.latency.batch)

    @property
    def flicker_percent(self) -> float | None:
        """What it adds to the flicker of fp32, in per cent of depth."""
        return None if self.flicker is None or self.flicker.added is None else 100 * self.flicker.added


@dataclass(frozen=True)
class BenchResult:
    """All artefacts of one bench on one machine."""

    created: str  # ISO 8601, UTC
    run: str  # its name
    machine: Machine
    settings: Mapping[str, float | str | None]  # threads, device, batch, minimum, seconds, streams
    pictures: str  # one line: on which pictures latency was measured
    clip: str | None  # one line: on which frames flicker was measured
    data: str | None  # the path of the data for scoring, as it was given
    idle_watts: Mapping[str, float]  # by sensor, over a second before the first artefact
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
        again = "Measure again with `edgekd bench`"
        found = value.get("schema") if isinstance(value, Mapping) else None
        if found != SCHEMA:
            raise DataError(f"The bench result has schema {found}; this version of edgekd reads {SCHEMA}", fix=again)
        try:
            settings = {str(name): setting for name, setting in value["settings"].items()}
            for name, setting in settings.items():
                if not isinstance(setting, (str, int, float)) and setting is not None:
                    raise TypeError(f"the setting {name} is {setting!r}")
            fields: dict[str, Any] = {name: read_plain(str, value[name]) for name in ("created", "run", "pictures")}
            for name in ("clip", "data"):
                fields[name] = None if value[name] is None else read_plain(str, value[name])
            fields["idle_watts"] = {str(name): float(watts) for name, watts in value["idle_watts"].items()}
            rows = tuple(read_plain(BenchRow, row) for row in value["rows"])
            return cls(machine=read_plain(Machine, value["machine"]), settings=settings, rows=rows, **fields)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
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


def threads_and_batch(settings: Mapping[str, Any]) -> str:
    """The two settings that a latency is never shown without, in words."""
    threads, batch = settings.get("threads"), settings.get("batch")
    return f"{threads} thread{'' if threads == 1 else 's'}, batch {batch}"
