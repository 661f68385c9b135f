"""The contract of a target: what it can do here, how it builds an artefact, how a built artefact runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from calibration.images import CalibrationSet
from calibration.progress import Progress
from targets.board.options import EngineOptions
from targets.input import InputSpec

__all__ = [
    "PRECISIONS",
    "Artefact",
    "BuildOptions",
    "Holding",
    "Precision",
    "Runner",
    "RunnerOptions",
    "Status",
    "Target",
]

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class Status:
    """What a target can do on this machine. `missing` says what it lacks, `fix` the command that fixes it."""

    can_build: bool
    can_run: bool
    version: str | None = None
    devices: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = ()
    missing: str | None = None
    fix: str | None = None


@dataclass(frozen=True)
class BuildOptions:
    """How to build. `device` None means the target's own default device; `engine` applies to the TensorRTs.

    `max_drift` is the mean relative depth error against fp32 that int8 may have; None uses the defaults.
    """

    device: str | None = None
    engine: EngineOptions = field(default_factory=EngineOptions)
    max_drift: float | None = None


@dataclass(frozen=True)
class RunnerOptions:
    """How to run. Threads are explicit, never guessed, and printed beside every latency."""

    threads: int = 1
    device: str | None = None


@dataclass(frozen=True)
class Artefact:
    """A built model for one target and precision: a folder with the model's files and artefact.json."""

    folder: Path
    target: str
    precision: Precision
    input: InputSpec
    model: str  # the model file's name inside `folder`
    files: Mapping[str, str]  # every model file's name to its sha256
    student: str  # sha256 of the fp32 ONNX it was built from
    calibration: str | None  # digest of the calibration set, for int8
    versions: Mapping[str, str]  # the runtime and the tools that built it
    device: str | None  # the device it was built for; None: any of the runtime's
    can_run_here: bool = True  # False: it cannot run on the machine that built it
    device_command: str | None = None  # the command that finishes or runs the model on the device
    settings: Mapping[str, str] = field(default_factory=dict)  # what was decided while building: encoding, float layers
    drift: Mapping[str, float] = field(default_factory=dict)  # from the fp32 student, measured when it was built
    drift_on: str | None = None  # which pictures drift was measured on
    rebuild: str | None = None  # the command that rebuilds it, set by the run; not in artefact.json

    @property
    def name(self) -> str:
        """`<target>-<precision>`."""
        return f"{self.target}-{self.precision}"

    @property
    def path(self) -> Path:
        """The model file."""
        return self.folder / self.model

    def to_json(self) -> dict[str, Any]:
        """Every field but `folder` and `rebuild`, which depend on where the artefact was copied to."""
        fields = asdict(self)
        del fields["folder"], fields["rebuild"]
        return fields


class Runner(Protocol):
    """An opened artefact; a context manager that frees what it holds."""

    artefact: Artefact
    settings: Mapping[str, str]  # how the runtime was set up: threads, pinning, provider

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Depth in metres, float32 [N, H, W], of pictures uint8 [N, H, W, 3] at the network's resolution.

        Raises DataError for any other input, or more pictures at once than the model was built for; one always works.
        """
        ...

    def __enter__(self) -> Runner: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Holding(Protocol):
    """A runner that can also infer without copying, so that a bench can tell what the copies in `infer` cost."""

    def hold(self, images: NDArray[np.uint8]) -> Callable[[], None]:
        """Put pictures uint8 [N, H, W, 3] where the runtime reads them, and return a function that infers them there.

        Each call leaves the depth where the runtime wrote it and returns when it is done. Valid until the next `infer`
        or `hold`.
        """
        ...


class Target(Protocol):
    """A runtime that artefacts are built for."""

    name: str

    def status(self) -> Status:
        """Version, devices and precisions, or what is missing and the command that fixes it. Never raises."""
        ...

    def build(
        self,
        onnx: Path,
        precision: Precision,
        calibration: CalibrationSet | None,
        options: BuildOptions,
        progress: Progress,
        *,
        into: Path,
    ) -> Artefact:
        """Build the fp32 model `onnx` for this target and write the artefact folder `into`, completely or not at all.

        Raises MissingRuntimeError, ModelError, ArtefactError or FileError.
        """
        ...

    def open(self, artefact: Artefact, options: RunnerOptions) -> Runner:
        """Open an artefact. Raises ArtefactError with the command that rebuilds it when it does not fit."""
        ...
