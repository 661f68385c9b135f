"""Building an engine from ONNX and running it by named tensors, the same for every TensorRT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

import numpy as np

from targets.board.cuda import Buffer, Device, Graph, Stream
from targets.board.errors import BoardError, InputError, MisfitError, RefusedError
from targets.board.options import EngineOptions
from targets.board.versions import Versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from targets.tensorrt_api import TensorRTModule

__all__ = ["Engine", "build_engine", "refusal"]

_FREE_MEMORY = "Close other programs, limit the builder's memory (engine option workspace=256), or free some disk space"
_OTHER_PRECISION = "Use another precision, such as fp32"
_loggers: dict[str, Any] = {}


def refusal(trt: TensorRTModule, model: bytes) -> str | None:
    """Why the parser rejects an ONNX model, or None where it accepts it."""
    return _parse_model(trt, model, EngineOptions())[-1]


def build_engine(
    trt: TensorRTModule,
    model: bytes,
    size: tuple[int, int],
    precision: str,
    options: EngineOptions,
    timings: bytes = b"",
    stepped: Callable[[str], None] | None = None,
) -> tuple[bytes, bytes]:
    """(engine, timing cache) of a model whose input `image` is uint8 [N, *size, 3].

    `timings` is the cache of an earlier build on this device; `stepped` is called with the builder's current step.
    Raises RefusedError with TensorRT's own message, InputError for an option that it does not have.
    """
    versions = Versions(trt)
    builder, network, parser, problem = _parse_model(trt, model, options)
    if problem is not None:
        raise RefusedError(f"{trt.__name__} {versions.text} rejects the model ({problem})", _OTHER_PRECISION)
    config = builder.create_builder_config()
    versions.configure(config, builder, precision, options)
    profile = builder.create_optimization_profile()
    one, most = ((count, *size, 3) for count in (1, options.most))
    profile.set_shape("image", one, one, most)
    config.add_optimization_profile(profile)
    cache = None
    if versions.keeps_timings:
        cache = config.create_timing_cache(timings)
        config.set_timing_cache(cache, ignore_mismatch=False)
    if stepped is not None and hasattr(trt, "IProgressMonitor"):
        config.progress_monitor = _monitor(trt, stepped)
    plan = builder.build_serialized_network(network, config)
    del parser  # kept until here: it holds the weights
    if plan is None:
        reason = _logger(trt).last()
        starved = any(word in reason.lower() for word in ("memory", "workspace", "alloc"))
        raise RefusedError(
            f"{trt.__name__} cannot build an engine ({reason})", _FREE_MEMORY if starved else _OTHER_PRECISION
        )
    return bytes(plan), bytes(cache.serialize()) if cache is not None else b""


class Engine:
    """An engine on the first CUDA device, launched as one recorded CUDA graph where that works.

    Any thread may use it, one at a time. `host_code` lets the plan run its own host code, as a version-compatible one
    does. `dla` is the core it was built for: a plan does not record it, and would run on the first core.
    """

    def __init__(
        self,
        trt: TensorRTModule,
        plan: bytes,
        graphs: bool = True,
        host_code: bool = False,
        dla: int | None = None,
    ) -> None:
        self._device = Device()  # first: without a device TensorRT's Runtime can crash the process
        self._device.start()
        self._stream = Stream(self._device)
        self._runtime = trt.Runtime(_logger(trt))  # must outlive the engine
        if host_code:
            self._runtime.engine_host_code_allowed = True
        if dla is not None:
            self._runtime.DLA_core = dla
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            self._stream.close()
            raise MisfitError(f"The engine failed to load ({_logger(trt).last()})", "Rebuild it")
        self._context = Versions(trt).context(self._engine)
        if self._context is None:  # such as when its memory cannot be allocated
            self._stream.close()
            raise RefusedError(f"The engine loads but cannot run ({_logger(trt).last()})", _FREE_MEMORY)
        self._wants_graphs = graphs
        self._graph, self._held = None, None  # type: Graph | None, Graph | None
        self._image, self._depth = None, None  # type: Buffer | None, Buffer | None
        self.device = self._device.name
        self.graphs = "not yet" if graphs else "off"  # whether CUDA graphs are used, in words for people

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Depth float32 [N, h, w] in metres of pictures uint8 [N, H, W, 3]. Raises InputError for any other size."""
        self._device.start()  # this thread need not be the one that opened the engine
        if self._image is None or self._image.host.shape != images.shape:
            self._prepare(images.shape)
        assert self._image is not None and self._depth is not None
        np.copyto(self._image.host, images)
        if self._graph is not None:
            self._graph.launch()
        else:
            self._enqueue()
        self._stream.wait()
        return self._depth.host.copy()

    def hold(self, images: NDArray[np.uint8]) -> Callable[[], None]:
        """Put pictures on the device and return a function that infers them there and returns when it is done.

        It copies nothing, and the depth stays on the device. Valid until the next `infer` or `hold`.
        """
        self.infer(images)
        if self._held is None and self._graph is not None:
            self._held, _ = self._record(self._execute)
        held = self._held

        def again() -> None:
            self._device.start()
            if held is None:
                self._execute()
            else:
                held.launch()
            self._stream.wait()

        return again

    def close(self) -> None:
        """Free what is held on the device."""
        self._device.start()
        self._free()
        self._context = self._engine = self._runtime = None
        self._stream.close()

    def _prepare(self, shape: tuple[int, ...]) -> None:
        """Buffers for this shape, and the recorded graph of one inference."""
        self._free()
        if not self._context.set_input_shape("image", shape):
            raise InputError(f"The engine does not accept {list(shape)}", "Pass fewer pictures at once")
        output = tuple(self._context.get_tensor_shape("depth"))
        try:
            self._image = Buffer(self._device, shape, np.uint8)
            self._depth = Buffer(self._device, output, np.float32)
            self._context.set_tensor_address("image", self._image.address)
            self._context.set_tensor_address("depth", self._depth.address)
            self._image.host[...] = 128
            self._enqueue()  # once without recording: TensorRT settles what depends on the shape
            self._stream.wait()
            if self._wants_graphs:
                self._graph, self.graphs = self._record(self._enqueue)
        except BaseException:  # or the next pictures of this shape would find it half prepared
            self._free()
            raise

    def _record(self, work: Callable[[], None]) -> tuple[Graph | None, str]:
        """The recorded graph of `work` and its state in words; no graph where it cannot be recorded."""
        graph = Graph(self._stream)
        try:
            graph.record()
            try:
                work()
            finally:
                graph.finish()
        except BoardError as error:
            graph.close()
            return None, f"none ({error.message})"
        return graph, "on"

    def _enqueue(self) -> None:
        assert self._image is not None and self._depth is not None
        self._image.upload(self._stream)
        self._execute()
        self._depth.download(self._stream)

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            raise RefusedError("The engine failed to run", "Rebuild it")

    def _free(self) -> None:
        for held in (self._graph, self._held, self._image, self._depth):
            if held is not None:
                held.close()
        self._graph = self._held = self._image = self._depth = None


def _parse_model(trt: TensorRTModule, model: bytes, options: EngineOptions) -> tuple[Any, Any, Any, str | None]:
    logger = _logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(Versions(trt).network_flags(options))
    parser = trt.OnnxParser(network, logger)
    if parser.parse(model):
        return builder, network, parser, None
    errors = [_parser_error(parser.get_error(index)) for index in range(parser.num_errors)]
    reason = "; ".join(error for error in errors if error) or logger.last()
    return builder, network, parser, reason


def _parser_error(error: Any) -> str:
    """The parser's own message, which may be just `false`, with the node it is about where known (from 10.0)."""
    said = "; ".join(error.desc().splitlines()[:2])
    if not (hasattr(error, "node_operator") and error.node_operator()):
        return said
    return f"{error.node_operator()} {error.node_name()}: {said}"


def _monitor(trt: Any, stepped: Callable[[str], None]) -> Any:
    """A monitor that passes on the builder's phases and steps, for TensorRT 10 and newer."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.steps: dict[str, int] = {}

        def phase_start(self, name: str, parent: str, steps: int) -> None:
            self.steps[name] = steps
            stepped(name)

        def phase_finish(self, name: str) -> None:
            self.steps.pop(name, None)

        def step_complete(self, name: str, step: int) -> bool:
            stepped(f"{name} {step + 1}/{self.steps.get(name, step + 1)}")
            return True  # go on

    return Monitor()


def _logger(trt: Any) -> Any:
    """One logger per module: TensorRT keeps the first it is given. It remembers the last errors and prints nothing."""
    if trt.__name__ not in _loggers:

        class Remembering(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.errors: list[str] = []

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                    self.errors = [*self.errors[-9:], message.strip()]

            def last(self) -> str:
                return self.errors[-1].splitlines()[0] if self.errors else "no reason given"

        _loggers[trt.__name__] = Remembering()
    return _loggers[trt.__name__]
