"""What TensorRT and TensorRT for RTX share: building an engine from ONNX and running it by named tensors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError, ModelError
from targets.artefact import misfit
from targets.base import Artefact
from targets.cuda import Buffer, Stream
from targets.feeding import require_images
from targets.input import InputSpec

__all__ = ["LARGEST_BATCH", "EngineRunner", "build_engine", "refusal"]

LARGEST_BATCH = 8
"""Engines take 1 to this many pictures; they are tuned for 1."""


def refusal(trt: ModuleType, model: bytes) -> str | None:
    """Why the parser of `trt` refuses an ONNX model, or None where it takes it."""
    _, _, problem = _parse(trt, model)
    return problem


def build_engine(trt: ModuleType, model: bytes, spec: InputSpec) -> bytes:
    """A serialised engine, types as the model writes them. Raises ModelError with TensorRT's own words."""
    builder, network, problem = _parse(trt, model)
    if problem is not None:
        raise ModelError(f"{trt.__name__} refuses the model ({problem})", fix="Build with --precision fp32")
    config = builder.create_builder_config()
    if not _strongly_typed(trt):  # before TensorRT 10 the precisions are permissions, not types
        for flag in ("FP16", "INT8"):
            config.set_flag(getattr(trt.BuilderFlag, flag))
    profile = builder.create_optimization_profile()
    one, most = ((count, spec.height, spec.width, 3) for count in (1, LARGEST_BATCH))
    profile.set_shape("image", one, one, most)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ModelError(
            f"{trt.__name__} cannot build an engine ({_logger(trt).last()})", fix="Build with --precision fp32"
        )
    return bytes(plan)


class EngineRunner:
    """An engine on the first CUDA device; buffers are kept for the batch size that was asked for last."""

    def __init__(self, trt: ModuleType, artefact: Artefact, engine: Path, settings: Mapping[str, str]) -> None:
        self._stream = Stream()  # first of all: without a device TensorRT's Runtime can end the process
        runtime = trt.Runtime(_logger(trt))
        self._engine: Any = runtime.deserialize_cuda_engine(engine.read_bytes())
        if self._engine is None:
            self._stream.close()
            raise misfit(artefact, f"the engine does not load ({_logger(trt).last()})")
        self._runtime = runtime  # must outlive the engine
        self._context: Any = self._engine.create_execution_context()
        self._buffers: tuple[Buffer, Buffer] | None = None
        self.artefact = artefact
        self.settings = settings

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Depth float32 [N, H, W] in metres of pictures uint8 [N, H, W, 3], N up to LARGEST_BATCH.

        Raises DataError for any other input.
        """
        images = require_images(images, self.artefact.input)
        if len(images) > LARGEST_BATCH:
            raise DataError(
                f"The engine takes up to {LARGEST_BATCH} pictures at once, not {len(images)}", fix="Give fewer at once"
            )
        image, depth = self._buffers_for(images.shape)
        image.upload(images, self._stream)
        if not self._context.execute_async_v3(self._stream.handle):
            raise ModelError("The engine did not run", fix="Build it anew with `edgekd export --force`")
        return depth.download(self._stream)

    def _buffers_for(self, shape: tuple[int, ...]) -> tuple[Buffer, Buffer]:
        if self._buffers is None or self._buffers[0].host.shape != shape:
            self._free()
            self._context.set_input_shape("image", shape)
            image, depth = Buffer(shape, np.uint8), Buffer(shape[:3], np.float32)
            self._context.set_tensor_address("image", image.address)
            self._context.set_tensor_address("depth", depth.address)
            self._buffers = image, depth
        return self._buffers

    def _free(self) -> None:
        for buffer in self._buffers or ():
            buffer.close()
        self._buffers = None

    def __enter__(self) -> EngineRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._free()
        self._context = self._engine = self._runtime = None
        self._stream.close()


def _strongly_typed(trt: ModuleType) -> bool:
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def _parse(trt: ModuleType, model: bytes) -> tuple[Any, Any, str | None]:
    logger = _logger(trt)
    builder = trt.Builder(logger)
    kinds = trt.NetworkDefinitionCreationFlag
    # 8.5 and 8.6: EXPLICIT_BATCH alone; 10: both exist; 11 and RTX: STRONGLY_TYPED alone.
    flags = [name for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED") if hasattr(kinds, name)]
    network = builder.create_network(sum(1 << int(getattr(kinds, name)) for name in flags))
    parser = trt.OnnxParser(network, logger)
    if parser.parse(model):
        return builder, network, None
    errors = [parser.get_error(index).desc().splitlines() for index in range(parser.num_errors)]
    return builder, network, "; ".join(line for lines in errors for line in lines[:2]) or logger.last()


@cache
def _logger(trt: ModuleType) -> Any:
    """One logger a process: TensorRT keeps the first it is given. It remembers the last error and prints nothing."""

    class Remembering(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors = [*self.errors[-9:], message.strip()]

        def last(self) -> str:
            return self.errors[-1].splitlines()[0] if self.errors else "it gave no reason"

    return Remembering()
