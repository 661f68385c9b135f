"""The few CUDA calls that running an engine needs, from the driver's own library, which is wherever a device is.

No torch, no cuda-python, no toolkit: libcuda has kept these entry points since CUDA 11.4 (JetPack 5). All calls use the
device's primary context, which is the one that TensorRT uses.
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from targets.board.errors import BoardError, MissingError, RefusedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Buffer", "Device", "Graph", "Stream"]

_CHECK = "Check the driver with nvidia-smi (tegrastats on a Jetson)"
_COMPUTE_MAJOR, _COMPUTE_MINOR, _INTEGRATED = 75, 76, 18  # CUdevice_attribute
_OUT_OF_MEMORY = 2  # CUresult
_FREE_DEVICE_MEMORY = "Close other programs, or pass fewer pictures at once"
_THREAD_LOCAL = 1  # CUstreamCaptureMode: other threads' calls do not disturb the recording


class Device:
    """The first CUDA device, ready for use. Raises MissingError without a driver or a device; it never crashes."""

    def __init__(self) -> None:
        self._driver = _load()
        self.call("cuInit", ctypes.c_uint(0))
        count = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        if count.value < 1:
            raise MissingError("The CUDA driver is installed but found no device", _CHECK)
        handle = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(handle), ctypes.c_int(0))
        self._handle = handle
        self._context = None  # type: ctypes.c_void_p | None
        name = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", name, ctypes.c_int(len(name)), handle)
        self.name = name.value.decode("utf-8", "replace")
        self.capability = f"{self._attribute(_COMPUTE_MAJOR)}.{self._attribute(_COMPUTE_MINOR)}"
        self.integrated = bool(self._attribute(_INTEGRATED))  # memory is shared with the CPU, as on a Jetson
        version = ctypes.c_int()
        self.call("cuDriverGetVersion", ctypes.byref(version))
        self.cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"  # the newest that the driver supports

    def start(self) -> None:
        """Make the primary context current in this thread, as every calling thread must; this is quick."""
        if self._context is None:
            context = ctypes.c_void_p()
            self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._handle)
            self._context = context
        self.call("cuCtxSetCurrent", self._context)

    def memory(self) -> tuple[int, int]:
        """(free, total) bytes of the device; after `start`."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def call(self, name: str, *arguments: Any) -> None:
        """Call the driver. Raises RefusedError when device memory runs out, MissingError with the driver's error name
        otherwise."""
        status = getattr(self._driver, name)(*arguments)
        if status == _OUT_OF_MEMORY:
            raise RefusedError(f"Out of device memory ({name})", _FREE_DEVICE_MEMORY)
        if status:
            raise MissingError(f"CUDA call {name} failed ({self._error(status)})", _CHECK)

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(number), self._handle)
        return value.value

    def _error(self, status: int) -> str:
        text = ctypes.c_char_p()
        if self._driver.cuGetErrorName(ctypes.c_int(status), ctypes.byref(text)) or text.value is None:
            return f"error {status}"
        return text.value.decode()


class Stream:
    """Work that the device does in order."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._handle = ctypes.c_void_p()
        device.call("cuStreamCreate", ctypes.byref(self._handle), ctypes.c_uint(1))  # not blocked by the default stream

    @property
    def handle(self) -> int:
        """What TensorRT takes as its stream."""
        return self._handle.value or 0

    def wait(self) -> None:
        """Wait until all queued work is done."""
        self.device.call("cuStreamSynchronize", self._handle)

    def close(self) -> None:
        if self._handle:
            self.device.call("cuStreamDestroy_v2", self._handle)
        self._handle = ctypes.c_void_p()


class Buffer:
    """One array on the device and its twin in pinned host memory; the device copies between them by itself."""

    def __init__(self, device: Device, shape: tuple[int, ...], dtype: Any) -> None:
        self.device, self._address, self._pinned = device, ctypes.c_uint64(), ctypes.c_void_p()
        self._bytes = ctypes.c_size_t(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        device.call("cuMemAlloc_v2", ctypes.byref(self._address), self._bytes)
        try:
            device.call("cuMemHostAlloc", ctypes.byref(self._pinned), self._bytes, ctypes.c_uint(0))
        except BoardError:
            device.call("cuMemFree_v2", self._address)
            raise
        memory = memoryview((ctypes.c_ubyte * self._bytes.value).from_address(self._pinned.value or 0))
        self.host: NDArray[Any] = np.frombuffer(memory, dtype=dtype).reshape(shape)

    @property
    def address(self) -> int:
        """Where the array lies on the device."""
        return self._address.value

    def upload(self, stream: Stream) -> None:
        """Copy `host` to the device, in order with the stream's other work."""
        self.device.call("cuMemcpyHtoDAsync_v2", self._address, self._pinned, self._bytes, stream._handle)

    def download(self, stream: Stream) -> None:
        """Copy from the device to `host`; it is complete after the stream's `wait`."""
        self.device.call("cuMemcpyDtoHAsync_v2", self._pinned, self._address, self._bytes, stream._handle)

    def close(self) -> None:
        self.device.call("cuMemFree_v2", self._address)
        self.device.call("cuMemFreeHost", self._pinned)


class Graph:
    """A stream's work between `record` and `finish`, which `launch` repeats as one piece."""

    def __init__(self, stream: Stream) -> None:
        self._device, self._stream = stream.device, stream
        self._graph, self._ready = ctypes.c_void_p(), ctypes.c_void_p()

    def record(self) -> None:
        self._device.call("cuStreamBeginCapture_v2", self._stream._handle, ctypes.c_int(_THREAD_LOCAL))

    def finish(self) -> None:
        """End the recording. Raises MissingError when something in it cannot be recorded."""
        self._device.call("cuStreamEndCapture", self._stream._handle, ctypes.byref(self._graph))
        instantiate = "cuGraphInstantiateWithFlags"
        self._device.call(instantiate, ctypes.byref(self._ready), self._graph, ctypes.c_ulonglong(0))

    def launch(self) -> None:
        self._device.call("cuGraphLaunch", self._ready, self._stream._handle)

    def close(self) -> None:
        if self._ready:
            self._device.call("cuGraphExecDestroy", self._ready)
        if self._graph:
            self._device.call("cuGraphDestroy", self._graph)


def _load() -> Any:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise MissingError(f"CUDA driver not found ({error})", "Install the NVIDIA driver") from error
