"""OpenVINO on the CPU: fp32, fp16 weights, and int8 read from the U8S8 encoding."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DiskFullError, FileError, MissingRuntimeError, ModelError
from calibration.images import CalibrationSet
from calibration.progress import Progress
from calibration.reasons import first_line
from targets.artefact import misfit
from targets.base import Artefact, BuildOptions, Precision, RunnerOptions, Status
from targets.board.infer_requests import InferRequests
from targets.board.silence import import_openvino
from targets.building import Built, Job, package, prepare
from targets.calibrated import quantise
from targets.child import python
from targets.encodings import U8S8_FLOAT_SUMS
from targets.feeding import require_images
from targets.graph import mark, write_model
from targets.half import require_half
from targets.padding import pad_channels
from targets.quantise import calibrate

__all__ = ["OpenVino", "OpenVinoRunner"]

_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
_MODEL = "model.xml"
_DEVICE = "CPU"


class OpenVino:
    """The target `openvino`."""

    name = "openvino"

    def status(self) -> Status:
        try:
            runtime = _import_openvino()
            devices = tuple(name.lower() for name in runtime.Core().available_devices)
        except MissingRuntimeError as error:
            return Status(can_build=False, can_run=False, missing=error.message, fix=error.fix)
        except RuntimeError as error:  # a plugin fails to load
            reason = first_line(error)
            return Status(False, False, missing=f"OpenVINO fails to start ({reason})", fix=_INSTALL)
        return Status(True, True, version=_version(runtime), devices=devices, precisions=_PRECISIONS)

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
        runtime = _import_openvino()
        if options.device is not None:
            _require_device(runtime.Core(), options.device.upper())  # before anything is calibrated
        job = prepare(self.name, onnx, precision, _PRECISIONS, calibration, progress, options)
        if precision == "fp16":
            require_half(job.graph, job.drift_images, progress)

        def write(folder: Path) -> Built:
            model, settings = job.graph.model, {}
            if precision == "int8":
                calibrated = calibrate(job.graph, job.images, progress, job.budget)
                model = quantise(pad_channels(calibrated), U8S8_FLOAT_SUMS)
                settings = calibrated.settings(U8S8_FLOAT_SUMS)
                mark(model, student=job.graph.sha256, calibration=calibration)
            with progress.task("Converting for OpenVINO"):
                _convert(runtime, model, folder / _MODEL, half=precision == "fp16")
                _require_compiles(runtime, folder / _MODEL, job)
            return Built(_MODEL, {"openvino": _version(runtime)}, device=options.device, settings=settings)

        return package(
            job,
            into,
            write=write,
            reference=lambda images: _infer_float(runtime, job, images),
            runner=lambda artefact: self.open(artefact, RunnerOptions(device=options.device)),
        )

    def open(self, artefact: Artefact, options: RunnerOptions) -> OpenVinoRunner:
        return OpenVinoRunner(artefact, options)


class OpenVinoRunner:
    """A compiled model with explicit threads and arithmetic. Pinning is off: on a busy core it doubled the median."""

    def __init__(self, artefact: Artefact, options: RunnerOptions) -> None:
        runtime = _import_openvino()
        device = (options.device or artefact.device or _DEVICE).upper()
        core = runtime.Core()
        _require_device(core, device)
        arithmetic = _arithmetic(core, device, artefact.precision)
        size = artefact.input.height, artefact.input.width
        self._requests = _requests(core, artefact.path, size, device, arithmetic, options.threads)
        self.artefact = artefact
        self.settings: Mapping[str, str] = {
            "version": _version(runtime),
            "device": device.lower(),
            "threads": str(options.threads),
            "arithmetic": arithmetic,
            "pinning": "off",
            "hint": "latency",
        }
        self._request(1)

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Depth float32 [N, H, W] in metres of pictures uint8 [N, H, W, 3]. Raises DataError for any other input."""
        feed = require_images(images, self.artefact.input)
        self._request(len(feed))  # compiles the model where it is not yet; a failure is a misfit
        return self._requests.infer(feed)

    def hold(self, images: NDArray[np.uint8]) -> Callable[[], None]:
        """See `targets.base.Holding`. Uses the runner's own request, because OpenVINO keeps writing into the memory of
        a freed request of the same model."""
        self.infer(images)  # copies them into the request's tensor
        request = self._request(len(images))
        return lambda: request.infer(share_outputs=True)  # a view of the depth, which the caller drops

    def _request(self, batch: int) -> Any:
        try:
            return self._requests.of(batch)
        except RuntimeError as error:
            version = self.settings["version"]
            raise misfit(self.artefact, f"OpenVINO {version} cannot open the model ({_reason(error)})") from error

    def __enter__(self) -> OpenVinoRunner:
        return self

    def __exit__(self, *raised: object) -> None:
        self._requests.close()


_INSTALL = 'Install it: pip install "edgekd[openvino]"'


def _import_openvino() -> ModuleType:
    try:
        openvino: ModuleType = import_openvino()
    except ImportError as error:
        raise MissingRuntimeError(f"OpenVINO is not installed ({error})", fix=_INSTALL) from error
    return openvino


def _version(runtime: ModuleType) -> str:
    return str(runtime.__version__).split("-")[0]


def _arithmetic(core: Any, device: str, precision: Precision) -> str:
    """The precision of the arithmetic. On CPUs without fp16 the hint f16 gives bfloat16, at ten times the error."""
    has_half = "FP16" in core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    return "f16" if precision == "fp16" and has_half else "f32"


def _settings(device: str, arithmetic: str, threads: int) -> dict[str, Any]:
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": arithmetic}
    if device == _DEVICE:
        settings |= {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    return settings


def _convert(runtime: ModuleType, model: Any, path: Path, *, half: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder) / "model.onnx", model)
        converted = runtime.Core().read_model(Path(folder) / "model.onnx")
    for number, op in enumerate(converted.get_ordered_ops()):
        if re.fullmatch(r"[A-Za-z]+_\d+", op.get_friendly_name()):  # its number depends on earlier conversions
            op.set_friendly_name(f"{op.get_type_name()}_{number}")
    try:
        runtime.save_model(converted, path, compress_to_fp16=half)
    except RuntimeError as error:
        # OpenVINO's stream errors give no reason: check the disk itself.
        if shutil.disk_usage(path.parent).free < model.ByteSize():
            raise DiskFullError(
                f"The disk is full while writing {path}", fix="Free some space and run the same command again"
            ) from error
        raise FileError(
            f"OpenVINO cannot write {path} ({_reason(error)})", fix="Check the folder and its disk"
        ) from error


_COMPILE = "from targets.openvino import compile_once\ncompile_once(*sys.argv[1:])"


def compile_once(model: str, precision: Precision, height: str, width: str) -> None:
    """Compile a model as a runner does, in a process of its own."""
    core = _import_openvino().Core()
    size = int(height), int(width)
    _requests(core, Path(model), size, _DEVICE, _arithmetic(core, _DEVICE, precision), 1).of(1)


def _requests(
    core: Any, model: Path, size: tuple[int, int], device: str, arithmetic: str, threads: int
) -> InferRequests:
    return InferRequests(core, model, size, device, _settings(device, arithmetic, threads))


def _require_compiles(runtime: ModuleType, model: Path, job: Job) -> None:
    """Compile the model once in a process of its own, as some int8 models crash OpenVINO instead of raising an error.

    Raises ModelError when it does; other errors are left to the runner, which tells them better.
    """
    size = job.graph.input.framing
    arguments = str(model), job.precision, str(size.height), str(size.width)
    done = subprocess.run(python(_COMPILE, *arguments), capture_output=True, check=False)
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise ModelError(
            f"OpenVINO {_version(runtime)} crashes when it compiles the {job.precision} model ({name})",
            fix="Build it for another target, or with --precision fp32 or fp16; another version of OpenVINO may do",
        )


def _infer_float(runtime: ModuleType, job: Job, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    try:
        compiled = runtime.Core().compile_model(str(job.graph.path), _DEVICE, _settings(_DEVICE, "f32", 1))
    except RuntimeError as error:  # an unsupported operator
        raise ModelError(
            f"OpenVINO {_version(runtime)} cannot convert {job.graph.path} ({_reason(error)})",
            fix="Build for another target: edgekd export --target onnxruntime",
        ) from error
    request = compiled.create_infer_request()
    depths = [
        np.array(request.infer({"image": images[i : i + 1]}, share_inputs=False)["depth"]) for i in range(len(images))
    ]
    return np.concatenate(depths)


def _reason(error: RuntimeError) -> str:
    """The line of OpenVINO's message that names unsupported operators, or else the last line."""
    lines = [line.strip("- ") for line in str(error).splitlines() if line.strip()] or ["no reason given"]
    return next((line for line in lines if line.startswith("No conversion rule")), lines[-1])


def _require_device(core: Any, device: str) -> None:
    if device not in core.available_devices:
        raise MissingRuntimeError(
            f"OpenVINO has no device {device!r} on this machine",
            fix=f"Choose one of: {', '.join(name.lower() for name in core.available_devices)}",
        )
