"""ONNX Runtime: the fp32 model as it is, and int8 as U8S8 Q/DQ. Runs on any CPU, and on CUDA when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import MissingRuntimeError
from calibration.images import CalibrationSet
from calibration.progress import Progress
from calibration.reasons import first_line
from targets.artefact import misfit
from targets.base import Artefact, BuildOptions, Precision, RunnerOptions, Status
from targets.building import Built, package, prepare
from targets.encodings import U8S8
from targets.feeding import require_images
from targets.graph import copy_model, mark, write_model
from targets.quantise import calibrate
from targets.quick import quantise_for_onnxruntime
from targets.reference import import_onnxruntime, infer_model, session_options

__all__ = ["OnnxRuntime", "OnnxRuntimeRunner"]

_PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_MODEL = "model.onnx"


class OnnxRuntime:
    """The target `onnxruntime`."""

    name = "onnxruntime"

    def status(self) -> Status:
        try:
            runtime = import_onnxruntime()
        except MissingRuntimeError as error:
            return Status(can_build=False, can_run=False, missing=error.message, fix=error.fix)
        available = runtime.get_available_providers()
        devices = tuple(device for device, provider in _PROVIDERS.items() if provider in available)
        return Status(True, True, version=runtime.__version__, devices=devices, precisions=_PRECISIONS)

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
        runtime = import_onnxruntime()
        if options.device is not None:
            _provider(runtime, options.device)  # before anything is calibrated
        job = prepare(self.name, onnx, precision, _PRECISIONS, calibration, progress, options)

        def write(folder: Path) -> Built:
            model, settings = copy_model(job.graph.model), {}
            if precision == "int8":
                calibrated = calibrate(job.graph, job.images, progress, job.budget)
                model = quantise_for_onnxruntime(calibrated)
                settings = calibrated.settings(U8S8)
            mark(model, student=job.graph.sha256, calibration=calibration if precision == "int8" else None)
            write_model(folder / _MODEL, model)
            return Built(_MODEL, {"onnxruntime": runtime.__version__}, device=options.device, settings=settings)

        return package(
            job,
            into,
            write=write,
            reference=lambda images: infer_model(job.graph.model, images),
            runner=lambda artefact: self.open(artefact, RunnerOptions(device=options.device)),
        )

    def open(self, artefact: Artefact, options: RunnerOptions) -> OnnxRuntimeRunner:
        return OnnxRuntimeRunner(artefact, options)


class OnnxRuntimeRunner:
    """A session with an explicit thread count. Spinning is off, because busy-waiting threads raise tail latency."""

    def __init__(self, artefact: Artefact, options: RunnerOptions) -> None:
        runtime = import_onnxruntime()
        device = options.device or artefact.device or "cpu"
        provider = _provider(runtime, device)
        session = session_options(options.threads)
        try:
            self._session: Any = runtime.InferenceSession(str(artefact.path), session, providers=[provider])
        except Exception as error:  # its exceptions share no base class
            reason = first_line(error)
            raise misfit(artefact, f"ONNX Runtime {runtime.__version__} cannot open the model ({reason})") from error
        if provider not in self._session.get_providers():  # it falls back to the CPU with only a log line
            raise MissingRuntimeError(
                f"ONNX Runtime cannot use {device!r} on this machine",
                fix="Check the driver with `edgekd doctor`, or use --device cpu",
            )
        self.artefact = artefact
        self.settings: Mapping[str, str] = {
            "version": runtime.__version__,
            "provider": provider,
            "threads": str(options.threads),
            "inter_op_threads": "1",
            "spinning": "off",
        }

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Depth float32 [N, H, W] in metres of pictures uint8 [N, H, W, 3]. Raises DataError for any other input."""
        feed = {"image": require_images(images, self.artefact.input)}
        depth: NDArray[np.float32] = self._session.run(["depth"], feed)[0]
        return depth

    def hold(self, images: NDArray[np.uint8]) -> Callable[[], None]:
        """See `targets.base.Holding`. Input and output are bound once, in the provider's own memory."""
        runtime = import_onnxruntime()
        device = "cuda" if self.settings["provider"] == _PROVIDERS["cuda"] else "cpu"
        feed = runtime.OrtValue.ortvalue_from_numpy(require_images(images, self.artefact.input), device, 0)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("image", feed)
        binding.bind_output("depth", device)

        def infer() -> None:
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return infer

    def __enter__(self) -> OnnxRuntimeRunner:
        return self

    def __exit__(self, *raised: object) -> None:
        self._session = None


def _provider(runtime: ModuleType, device: str) -> str:
    """The provider of a device. Raises MissingRuntimeError where it is not available."""
    provider = _PROVIDERS.get(device)
    if provider is None or provider not in runtime.get_available_providers():
        raise MissingRuntimeError(
            f"ONNX Runtime has no device {device!r} on this machine",
            fix="Install onnxruntime-gpu instead of onnxruntime, or use --device cpu"
            if device == "cuda"
            else f"Choose one of: {', '.join(_PROVIDERS)}",
        )
    return provider
