"""The few CUDA calls that running an engine needs, through cuda-python: no torch on the device."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import MissingRuntimeError

__all__ = ["Buffer", "Stream", "device_name"]


class Stream:
    """A CUDA stream. Raises MissingRuntimeError without cuda-python or a device."""

    def __init__(self) -> None:
        self._cuda = _import_cuda()
        self.handle: int = int(_call(self._cuda, "cudaStreamCreate"))

    def wait(self) -> None:
        _call(self._cuda, "cudaStreamSynchronize", self.handle)

    def close(self) -> None:
        _call(self._cuda, "cudaStreamDestroy", self.handle)


class Buffer:
    """Device memory of the size of one array."""

    def __init__(self, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        self._cuda = _import_cuda()
        self.host: NDArray[Any] = np.empty(shape, dtype)
        self.address: int = int(_call(self._cuda, "cudaMalloc", self.host.nbytes))

    def upload(self, values: NDArray[Any], stream: Stream) -> None:
        """Copy to the device, in order with the stream's other work."""
        self.host[...] = values
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        _call(
            self._cuda,
            "cudaMemcpyAsync",
            self.address,
            self.host.ctypes.data,
            self.host.nbytes,
            kind,
            stream.handle,
        )

    def download(self, stream: Stream) -> NDArray[Any]:
        """Copy to the host and wait for it; the array is the caller's."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _call(
            self._cuda,
            "cudaMemcpyAsync",
            self.host.ctypes.data,
            self.address,
            self.host.nbytes,
            kind,
            stream.handle,
        )
        stream.wait()
        return self.host.copy()

    def close(self) -> None:
        _call(self._cuda, "cudaFree", self.address)


def device_name() -> str:
    """Name of the first CUDA device. Raises MissingRuntimeError where there is none."""
    cuda = _import_cuda()
    return bytes(_call(cuda, "cudaGetDeviceProperties", 0).name).split(b"\0")[0].decode()


def _import_cuda() -> ModuleType:
    try:
        try:
            return importlib.import_module("cuda.bindings.runtime")  # cuda-python 12.6 and later
        except ImportError:
            return importlib.import_module("cuda.cudart")
    except ImportError as error:
        raise MissingRuntimeError(
            f"cuda-python is not installed ({error})", fix="Install the one for your CUDA: pip install cuda-python"
        ) from error


def _call(cuda: ModuleType, name: str, *arguments: Any) -> Any:
    status, *results = getattr(cuda, name)(*arguments)
    if int(status) != 0:
        raise MissingRuntimeError(
            f"CUDA refused {name} ({status})", fix="Check the device with nvidia-smi, on a Jetson with tegrastats"
        )
    return results[0] if results else None
