"""The part of TensorRT's Python interface that edgekd calls, as types: what a version must have to work.

It follows the documentation of 8.5, 8.6, 10 and 11. Only board/versions.py uses names that some versions lack.
tests/targets/board/test_versions.py checks this file against TensorRT for RTX, and examples/targets/api_names.py checks
it against any version's package.
"""

from __future__ import annotations

from typing import Any, Protocol

__all__ = [
    "Builder", "Config", "Context", "Engine", "Parser", "Profile", "Runtime", "TensorRTModule",
]  # fmt: skip


class Profile(Protocol):
    """IOptimizationProfile."""

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None: ...  # noqa: A002


class Config(Protocol):
    """IBuilderConfig."""

    def add_optimization_profile(self, profile: Any) -> int: ...
    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any: ...
    def set_flag(self, flag: Any) -> None: ...
    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None: ...
    def set_tactic_sources(self, tactic_sources: int) -> bool: ...
    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool: ...


class Builder(Protocol):
    """Builder."""

    def build_serialized_network(self, network: Any, config: Any) -> Any: ...
    def create_builder_config(self) -> Any: ...
    def create_network(self, flags: int) -> Any: ...
    def create_optimization_profile(self) -> Any: ...


class Parser(Protocol):
    """OnnxParser."""

    @property
    def num_errors(self) -> int: ...
    def get_error(self, index: int) -> Any: ...
    def parse(self, model: bytes) -> bool: ...


class Runtime(Protocol):
    """Runtime."""

    engine_host_code_allowed: bool

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any: ...


class Engine(Protocol):
    """ICudaEngine."""

    def create_execution_context(self) -> Any: ...


class Context(Protocol):
    """IExecutionContext."""

    def execute_async_v3(self, stream_handle: int) -> bool: ...
    def get_tensor_shape(self, name: str) -> Any: ...
    def set_input_shape(self, name: str, shape: Any) -> bool: ...
    def set_tensor_address(self, name: str, memory: int) -> bool: ...


class TensorRTModule(Protocol):
    """The module `tensorrt`, or TensorRT for RTX under either of its names."""

    __name__: str
    __version__: str
    BuilderFlag: Any
    DeviceType: Any
    DynamicShapesKernelSpecializationStrategy: Any  # RTX alone
    HardwareCompatibilityLevel: Any  # 8.6 and newer
    ILogger: Any
    MemoryPoolType: Any
    NetworkDefinitionCreationFlag: Any
    TacticSource: Any

    def Builder(self, logger: Any) -> Any: ...  # noqa: N802
    def OnnxParser(self, network: Any, logger: Any) -> Any: ...  # noqa: N802
    def Runtime(self, logger: Any) -> Any: ...  # noqa: N802
