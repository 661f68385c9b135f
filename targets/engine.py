"""What both TensorRT targets share: the modules of `targets.board`, with edgekd's errors and progress."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from calibration.errors import (
    ArtefactError,
    DataError,
    EdgekdError,
    FileError,
    MissingRuntimeError,
    ModelError,
    UsageError,
)
from calibration.files import sha256_file
from calibration.progress import Progress
from targets.artefact import ENGINE_OPTIONS, rebuild_command
from targets.base import Artefact
from targets.board import errors
from targets.board.apart import BuildJob, build_apart, here_key
from targets.board.cuda import Device
from targets.board.engine import Engine
from targets.board.key import read_engine
from targets.board.options import EngineOptions
from targets.board.timings import Timings, cache_folder
from targets.building import Job
from targets.child import python
from targets.feeding import require_images
from targets.probe import Probe

__all__ = ["ENGINE", "MODEL", "EngineRunner", "build_engine", "explained", "require_first_gpu"]

MODEL, ENGINE = "model.onnx", "model.engine"
"""The files of an artefact of either TensorRT."""

_FIRST_GPU = "cuda", "cuda:0"
"""Names of the only device that engines are built for and run on."""

_BUILD = "from targets.board.apart import serve_build\nsys.exit(serve_build(sys.argv[-1]))"

_KINDS: dict[type[errors.BoardError], type[EdgekdError]] = {
    errors.InputError: UsageError,
    errors.MissingError: MissingRuntimeError,
    errors.MisfitError: ArtefactError,
    errors.RefusedError: ModelError,
}


@contextmanager
def explained() -> Iterator[None]:
    """Turn a board's error into the matching edgekd error."""
    try:
        yield
    except errors.BoardError as error:
        raise _KINDS.get(type(error), FileError)(error.message, fix=error.fix) from error


def require_first_gpu(target: str, device: str | None) -> None:
    """Raise UsageError for any device but the first GPU, which engines are built for and run on."""
    if device not in (None, *_FIRST_GPU):
        raise UsageError(
            f"{target} builds for and runs on the first GPU, not on {device!r}",
            fix="Omit --device and choose the GPU with CUDA_VISIBLE_DEVICES, a DLA core with --engine dla=0",
        )


def build_engine(module: str, job: Job, options: EngineOptions, folder: Path, probe: Probe, progress: Progress) -> None:
    """Build ENGINE from MODEL in `folder`, in a separate process, showing a clock and, where known, an estimate.

    Raises ModelError with TensorRT's own message, UsageError for an option it does not have, FileError.
    """
    model, engine = folder / MODEL, folder / ENGINE
    size = (job.graph.input.height, job.graph.input.width)
    order = BuildJob(module, job.target, str(model), str(engine), size, job.precision, options, cache_folder())
    estimate = Timings(order.cache, here_key(job.target, str(probe.version), sha256_file(model), options)).estimate(
        model.stat().st_size
    )
    label = f"Building a {job.target} engine" + ("; this can take minutes" if estimate is None else "")
    total = None if estimate is None else max(2, round(estimate))
    done = 0
    with explained(), progress.task(label, total, every=2.0) as advance:

        def show(seconds: float, step: str) -> None:
            nonlocal done
            units = int(seconds) - done
            if total is not None and done + units >= total:  # past the estimate, the bar waits just below full
                units = max(0, total - 1 - done)
            done += units
            advance(units)

        build_apart(python(_BUILD), order, show)
        if total is not None:
            advance(total - done)


class EngineRunner:
    """An opened engine; a Runner."""

    def __init__(self, module: str, artefact: Artefact) -> None:
        rebuild = rebuild_command(artefact)
        with explained():
            options = EngineOptions.parse(artefact.settings.get(ENGINE_OPTIONS, ""))
            Device()  # first: without a device TensorRT can crash the process
            trt = _import(module)
            version = str(trt.__version__)
            key = here_key(artefact.target, version, artefact.files[MODEL], options)
            plan = read_engine(str(artefact.folder / ENGINE), key, rebuild)
            self._engine = Engine(trt, plan, host_code=options.version_compatible, dla=options.dla)
        self._most = options.most
        self.artefact = artefact
        # The first inference is slow: TensorRT settles and the CUDA graph is recorded. Spare the caller that.
        try:
            self.infer(np.zeros((1, artefact.input.height, artefact.input.width, 3), np.uint8))
        except BaseException:
            self._engine.close()
            raise
        self.settings: Mapping[str, str] = {
            "version": version,
            "device": self._engine.device,
            "cuda_graphs": self._engine.graphs,
        }

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Depth float32 [N, H, W] in metres of pictures uint8 [N, H, W, 3], N up to the engine's largest batch.

        Raises DataError for any other input.
        """
        images = self._require(images)
        with explained():
            return self._engine.infer(images)

    def hold(self, images: NDArray[np.uint8]) -> Callable[[], None]:
        """See `targets.base.Holding`. Pictures and depth stay in device memory."""
        images = self._require(images)
        with explained():
            return self._engine.hold(images)

    def _require(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        images = require_images(images, self.artefact.input)
        if len(images) > self._most:
            raise DataError(
                f"The engine takes up to {self._most} pictures at once, not {len(images)}",
                fix="Pass fewer at once, or export with --engine batch=N",
            )
        return images

    def __enter__(self) -> EngineRunner:
        return self

    def __exit__(self, *raised: object) -> None:
        with explained():
            self._engine.close()


def _import(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise errors.MissingError(f"{module} fails to load ({error})", "Reinstall it") from error
