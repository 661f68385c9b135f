"""A TensorRT 10.3 that computes with ONNX Runtime, in the memory of driver.c, for tests without a device.

As strict as NVIDIA documents the real one: shapes outside the profile are refused, a version-compatible plan loads only
where host code is allowed, a context runs only once all tensors have addresses. An environment variable breaks one
thing at a time: PRETEND_REFUSES=fp16 builds no engine for models that hold half precision, PRETEND_REFUSES=context has
no room to run one.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import sys

import numpy as np
import onnx

__version__ = "10.3.0"


class NetworkDefinitionCreationFlag:
    EXPLICIT_BATCH, STRONGLY_TYPED = 0, 1


class BuilderFlag:
    FP16, INT8, GPU_FALLBACK, VERSION_COMPATIBLE = "fp16", "int8", "fallback", "compatible"


class MemoryPoolType:
    WORKSPACE = "workspace"


class DeviceType:
    GPU, DLA = "gpu", "dla"


class HardwareCompatibilityLevel:
    AMPERE_PLUS = "ampere+"


class TacticSource:
    CUDNN, JIT_CONVOLUTIONS = 2, 5


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = range(3)


class Logger(ILogger):
    def log(self, severity: int, message: str) -> None:
        pass


class IProgressMonitor:
    pass


class _Blob:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> bytes:
        return self._content


class _Profile:
    def set_shape(self, name: str, least: tuple, best: tuple, most: tuple) -> None:
        assert name == "image" and least <= best <= most
        self.least, self.most = list(least), list(most)


class _Config:
    builder_optimization_level = 3
    progress_monitor = None

    def __init__(self) -> None:
        self.flags: list[str] = []
        self.profiles: list[_Profile] = []

    def set_flag(self, flag: str) -> None:
        self.flags.append(flag)

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        assert pool == MemoryPoolType.WORKSPACE and size > 0

    def set_tactic_sources(self, sources: int) -> bool:
        return True

    def add_optimization_profile(self, profile: _Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, content: bytes) -> _Blob:
        return _Blob(content or b"timings")

    def set_timing_cache(self, cache: _Blob, ignore_mismatch: bool) -> bool:
        return True


class _Network:
    model = b""


class Builder:
    num_DLA_cores = 2  # noqa: N815 - NVIDIA's name

    def __init__(self, logger: ILogger) -> None:
        self.logger = logger

    def create_network(self, flags: int) -> _Network:
        assert flags & 1 << NetworkDefinitionCreationFlag.EXPLICIT_BATCH
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        (profile,) = config.profiles
        if config.progress_monitor is not None:
            config.progress_monitor.phase_start("Tactics", None, 1)
            config.progress_monitor.step_complete("Tactics", 0)
            config.progress_monitor.phase_finish("Tactics")
        types = {tensor.data_type for tensor in onnx.load_from_string(network.model).graph.initializer}
        if os.environ.get("PRETEND_REFUSES") == "fp16" and onnx.TensorProto.FLOAT16 in types:
            self.logger.log(ILogger.ERROR, "Error Code 10: could not find any implementation for node conv")
            return None
        plan = {
            "least": profile.least,
            "most": profile.most,
            "dla": getattr(config, "DLA_core", None),
            "code": BuilderFlag.VERSION_COMPATIBLE in config.flags,
            "model": base64.b64encode(network.model).decode(),
        }
        return json.dumps(plan).encode()


class OnnxParser:
    num_errors = 0

    def __init__(self, network: _Network, logger: ILogger) -> None:
        self._network = network

    def parse(self, model: bytes) -> bool:
        onnx.checker.check_model(onnx.load_from_string(model))
        self._network.model = model
        return True


class Runtime:
    engine_host_code_allowed = False
    DLA_core = -1

    def __init__(self, logger: ILogger) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, content: bytes) -> _Engine | None:
        plan = json.loads(content)
        if plan["code"] and not self.engine_host_code_allowed:
            self.logger.log(ILogger.ERROR, "Error Code 1: the plan contains host code, which is not allowed")
            return None
        if plan["dla"] is not None:
            # This core decides, whatever core the engine was built for.
            sys.stderr.write(f"DLA core {self.DLA_core}\n")
        return _Engine(plan, self.logger)


class _Engine:
    def __init__(self, plan: dict, logger: ILogger) -> None:
        self._plan, self._logger = plan, logger

    def create_execution_context(self) -> _Context | None:
        if os.environ.get("PRETEND_REFUSES") == "context":
            self._logger.log(ILogger.ERROR, "Error Code 2: OutOfMemory (requested size was 94371840 bytes.)")
            return None
        return _Context(self._plan)


class _Context:
    def __init__(self, plan: dict) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        model = base64.b64decode(plan["model"])
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._plan = plan
        self._shape: list[int] = []
        self._addresses: dict[str, int] = {}
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._kernels: list[object] = []  # kept alive: a recorded graph calls them later

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, most = self._plan["least"], self._plan["most"]
        fits = all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))
        if fits:
            self._shape = list(shape)
        return fits

    def get_tensor_shape(self, name: str) -> list[int]:
        return self._shape if name == "image" else self._shape[:3]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if set(self._addresses) != {"image", "depth"}:
            return False
        shape, image, depth = list(self._shape), self._addresses["image"], self._addresses["depth"]

        def kernel() -> None:
            (made,) = self._session.run(["depth"], {"image": _memory(image, np.uint8, shape)})
            _memory(depth, np.float32, shape[:3])[...] = made

        called = ctypes.CFUNCTYPE(None)(kernel)
        self._kernels.append(called)
        return self._driver.pretendKernel(called, ctypes.c_void_p(stream)) == 0


def _memory(address: int, dtype: type, shape: list[int]) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_ubyte * size).from_address(address), dtype).reshape(shape)
