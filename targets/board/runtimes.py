"""The runtimes that a bundle's models run in, each imported only when it is used."""

from __future__ import annotations

import importlib
import importlib.util
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Protocol

import numpy as np

from targets.board.apart import BuildJob, build_apart, here_key
from targets.board.cuda import Device
from targets.board.engine import Engine
from targets.board.errors import BoardError, MisfitError, MissingError, RefusedError
from targets.board.infer_requests import InferRequests
from targets.board.key import built_options, read_engine
from targets.board.manifest import Bundle, BundledModel
from targets.board.options import EngineOptions
from targets.board.silence import import_onnxruntime, import_openvino
from targets.board.timings import Timings, cache_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RUNTIMES", "Model", "choose_runtime", "open_model", "python_command"]

Show = Callable[[float, "float | None", str], None]
"""Called twice a second while an engine is built: seconds, estimate, the builder's current step."""

_MODULES = {
    "tensorrt": ("tensorrt",),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime",),
}

RUNTIMES = tuple(_MODULES)
"""In the order in which they are tried."""

_SILENCED: dict[str, Callable[[], Any]] = {"openvino": import_openvino, "onnxruntime": import_onnxruntime}
_INSTALL = {
    "tensorrt": "Install it on a Jetson: sudo apt install tensorrt python3-libnvinfer",
    "tensorrt-rtx": "Install it: pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings",
    "openvino": "Install it: pip install openvino",
    "onnxruntime": "Install it: pip install onnxruntime",
}


class Model(Protocol):
    """An opened model."""

    about: str  # one line: runtime, version, device

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Depth float32 [N, h, w] in metres of pictures uint8 [N, H, W, 3]."""
        ...

    def close(self) -> None: ...


def _on_the_cpu(threads: int) -> str:
    return f"on the CPU, {threads} thread{'' if threads == 1 else 's'}"


class _OnnxRuntime:
    def __init__(self, path: Path, threads: int) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # busy waiting raises tail latency
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._run = session.run
        self.about = f"ONNX Runtime {onnxruntime.__version__} {_on_the_cpu(threads)}"

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        depth: NDArray[np.float32] = self._run(["depth"], {"image": images})[0]
        return depth

    def close(self) -> None:
        del self._run


class _OpenVino:
    def __init__(self, path: Path, size: tuple[int, int], threads: int) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        self._requests = InferRequests(core, path, size, "CPU", settings)
        self._requests.of(1)
        version = str(openvino.__version__).split("-")[0]
        self.about = f"OpenVINO {version} {_on_the_cpu(threads)}"

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._requests.infer(images)

    def close(self) -> None:
        self._requests.close()


class _TensorRT:
    def __init__(self, trt: Any, runtime: str, plan: bytes, size: tuple[int, int], options: EngineOptions) -> None:
        self._engine = Engine(trt, plan, host_code=options.version_compatible, dla=options.dla)
        self.infer = self._engine.infer  # nothing between the caller and the engine
        self.close = self._engine.close
        try:
            self.infer(np.zeros((1, *size, 3), np.uint8))  # the first records the CUDA graph
        except BaseException:
            self.close()
            raise
        about = "{} {} on {}, CUDA graphs {}"
        self.about = about.format(runtime, trt.__version__, self._engine.device, self._engine.graphs)


def choose_runtime(bundle: Bundle, asked: str | None) -> str:
    """The runtime that was asked for, or the first that the bundle has models for and this machine has.

    Raises MisfitError where the bundle has no models for it, MissingError with what each one lacks.
    """
    wanted = [asked] if asked else [name for name in RUNTIMES if bundle.models_for(name)]
    missing = []
    for name in wanted:
        if not bundle.models_for(name):
            raise MisfitError(f"The bundle has no models for {name}", "Rebuild it: edgekd bundle --target " + name)
        try:
            _require(name)
            _import_runtime(name)  # a damaged installation counts as missing
            return name
        except MissingError as error:
            missing.append(error)
    if len(missing) == 1:
        raise missing[0]
    reasons = "; ".join(error.message for error in missing)
    raise MissingError("None of the bundle's runtimes is available: " + reasons, missing[-1].fix)


def open_model(
    bundle: Bundle,
    model: BundledModel,
    runtime: str,
    threads: int,
    asked: EngineOptions | None,
    rebuild: bool,
    show: Show,
) -> Model:
    """Open a model, building its engine first where the runtime needs one and there is none.

    Without `asked` options, an existing engine is used as it was built, and a new one is built as the bundle says.
    Raises MisfitError, with the command that rebuilds it, for an engine that does not fit; RefusedError, MissingError.
    """
    try:
        if runtime == "onnxruntime":
            return _OnnxRuntime(model.path, threads)
        if runtime == "openvino":
            return _OpenVino(model.path, bundle.input_size, threads)
        return _open_engine(bundle, model, runtime, asked, rebuild, show)
    except BoardError:
        raise
    except Exception as error:  # the runtimes' exceptions share no base class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RefusedError(f"{runtime} cannot open {model.path} ({reason})", "Use another runtime") from error


def _open_engine(
    bundle: Bundle, model: BundledModel, runtime: str, asked: EngineOptions | None, rebuild: bool, show: Show
) -> Model:
    engine = bundle.folder / "engines" / f"{runtime}-{model.precision}.engine"
    options = asked or (None if rebuild else built_options(str(engine))) or bundle.options
    if rebuild or not engine.is_file():
        _make_engine(bundle, model, runtime, engine, options, show)
    trt = _import_runtime(runtime)
    key = here_key(runtime, str(trt.__version__), model.sha256, options)
    again = "{} {} --rebuild --runtime {} --precision {}".format(
        python_command(), shlex.quote(str(bundle.folder / "run.py")), runtime, model.precision
    )
    if options != bundle.options:
        again += f" --engine {options}"
    plan = read_engine(str(engine), key, again)
    return _TensorRT(trt, runtime, plan, bundle.input_size, options)


def _make_engine(
    bundle: Bundle, model: BundledModel, runtime: str, engine: Path, options: EngineOptions, show: Show
) -> None:
    try:
        engine.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BoardError(
            f"Cannot write {engine.parent} ({error.strerror})", "Copy the bundle to a writable folder"
        ) from error
    module = _import_runtime(runtime)
    job = BuildJob(
        module.__name__,
        runtime,
        str(model.path),
        str(engine),
        bundle.input_size,
        model.precision,
        options,
        cache_folder(),
    )
    key = here_key(runtime, str(module.__version__), model.sha256, options)
    estimate = Timings(job.cache, key).estimate(model.path.stat().st_size)
    command = [sys.executable, str(bundle.folder / "run.py"), "--build"]
    build_apart(command, job, lambda seconds, step: show(seconds, estimate, step))


def python_command() -> str:
    """What a user types to run this Python."""
    name = Path(sys.executable).name
    return name if shutil.which(name) == sys.executable else shlex.quote(sys.executable)


def _require(runtime: str) -> None:
    """Raise MissingError unless the runtime is installed and has the device it needs; nothing heavy is imported."""
    if not any(importlib.util.find_spec(module) for module in _MODULES[runtime]):
        raise MissingError(f"{runtime} is not installed", _INSTALL[runtime])
    if runtime.startswith("tensorrt"):
        Device()  # first, because without a driver TensorRT can crash the process


def _import_runtime(runtime: str) -> Any:
    for module in _MODULES[runtime]:
        if importlib.util.find_spec(module):
            try:
                if module in _SILENCED:
                    return _SILENCED[module]()
                return importlib.import_module(module)
            except (ImportError, OSError) as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise MissingError(f"{module} fails to load ({reason})", _INSTALL[runtime]) from error
    raise MissingError(f"{runtime} is not installed", _INSTALL[runtime])
