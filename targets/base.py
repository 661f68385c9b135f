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
    """What a target can do on this machine. `missing` and `fix` say why not, and the command that mends it."""

    can_build: bool
    can_run: bool
    version: str | None = None
    devices: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = ()
    missing: str | None = None
    fix: str | None = None


@dataclass(frozen=True)
class BuildOptions:
    """How to build. `device` None means the target's own default device; `engine` is for the TensorRTs.

    `max_drift` is the mean relative depth error against fp32 that int8 may have; None leaves it to the defaults.
    """

    device: str | None = None
    engine: EngineOptions = field(default_factory=EngineOptions)
    max_drift: float | None = None


@dataclass(frozen=True)
class RunnerOptions:
    """How to run. Threads are stated, never left to a guess: they are printed beside every latency."""

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
    device: str | None  # what it was built for; None: any that the runtime has
    can_run_here: bool = True  # False: not on the machine that built it
    device_command: str | None = None  # the command that finishes or runs the model on the device
    settings: Mapping[str, str] = field(default_factory=dict)  # what was decided on the way: encoding, float layers
    drift: Mapping[str, float] = field(default_factory=dict)  # against the fp32 student, when it was built
    drift_on: str | None = None  # which pictures drift was measured on
    rebuild: str | None = None  # the command that builds it anew, of whoever keeps it; not in artefact.json

    @property
    def name(self) -> str:
        """`<target>-<precision>`."""
        return f"{self.target}-{self.precision}"

    @property
    def path(self) -> Path:
        """The model file."""
        return self.folder / self.model

    def to_json(self) -> dict[str, Any]:
        """Everything but the folder, which is wherever it was copied to, and what depends on it."""
        fields = asdict(self)
        del fields["folder"], fields["rebuild"]
        return fields


class Runner(Protocol):
    """An opened artefact; a context manager that frees what it holds."""

    artefact: Artefact
    settings: Mapping[str, str]  # what the runtime was told: threads, pinning, provider

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Depth in metres, float32 [N, H, W], of pictures uint8 [N, H, W, 3] at the network's resolution.

        Raises DataError for any other input, and for more pictures at once than the model was built for; one always is.
        """
        ...

    def __enter__(self) -> Runner: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Holding(Protocol):
    """A runner that can infer without copying: what a bench takes from `infer` to tell what the copies cost."""

    def hold(self, images: NDArray[np.uint8]) -> Callable[[], None]:
        """Put pictures uint8 [N, H, W, 3] where the runtime reads them; each call of what is returned infers them
        there, leaves the depth where the runtime wrote it, and returns when it is done. Good until the next `infer`
        or `hold`."""
        ...


class Target(Protocol):
    """A runtime that artefacts are built for."""

    name: str

    def status(self) -> Status:
        """Version, devices and precisions, or what is missing and the command that mends it. Never raises."""
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
        """Build the fp32 model `onnx` for this target and write the artefact folder `into`, whole or not at all.

        Raises MissingRuntimeError, ModelError, ArtefactError or FileError.
        """
        ...

    def open(self, artefact: Artefact, options: RunnerOptions) -> Runner:
        """Open an artefact. Raises ArtefactError with the command that rebuilds it when it does not fit."""
        ...
