"""What the driver is told, checked by a stand-in library in C: every handle, size and order of arguments.

This shows that the calls are right, not that a device obeys them: examples/targets/engines.py shows that.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DRIVER_SCRIPT = """
import numpy as np
from targets.board.cuda import Buffer, Device, Graph, Stream
device = Device()
device.start()
assert (device.name, device.capability, device.integrated, device.cuda) == ("Pretend", "8.7", True, "13.0")
assert device.memory() == (3 << 32, 1 << 35)
stream = Stream(device)
image = Buffer(device, (2, 3, 4, 3), np.uint8)
values = np.random.default_rng(0).integers(0, 255, (2, 3, 4, 3)).astype(np.uint8)
image.host[...] = values
image.upload(stream)
image.host[...] = 0
image.download(stream)
stream.wait()
assert np.array_equal(image.host, values)
graph = Graph(stream)
graph.record()
image.upload(stream)
image.download(stream)
graph.finish()
image.host[...] = 9
graph.launch()
stream.wait()
assert (image.host == 9).all()
for held in (graph, image, stream):
    held.close()
try:
    Buffer(device, (1 << 41,), np.uint8)
except Exception as error:
    print(type(error).__name__, error)
"""


ENGINE = """
from types import SimpleNamespace
import numpy as np
from targets.board.engine import Engine

class Logger:
    ERROR = INTERNAL_ERROR = 0

shapes = [(1 << 41,), (1, 4, 4)]
context = SimpleNamespace(
    set_input_shape=lambda name, shape: True,
    get_tensor_shape=lambda name: shapes.pop(0),
    set_tensor_address=lambda name, address: None,
    execute_async_v3=lambda stream: True,
)
engine = SimpleNamespace(create_execution_context=lambda: context)
runtime = SimpleNamespace(deserialize_cuda_engine=lambda plan: engine)
trt = SimpleNamespace(__name__="trt", __version__="10.3.0", ILogger=Logger, Runtime=lambda logger: runtime)
opened = Engine(trt, b"", graphs=False)
pictures = np.zeros((1, 4, 4, 3), np.uint8)
try:
    opened.infer(pictures)
except Exception as error:
    print(type(error).__name__)
print(opened.infer(pictures).shape)
opened.close()
"""


def run(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_buffers_streams_and_graphs_ask_the_driver_rightly(pretend_device: dict[str, str]) -> None:
    done = run(DRIVER_SCRIPT, pretend_device)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("RefusedError Out of device memory (cuMemAlloc_v2)")


def test_an_engine_whose_buffers_were_not_to_be_had_can_be_asked_again(pretend_device: dict[str, str]) -> None:
    done = run(ENGINE, pretend_device)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n", 1) == ["RefusedError", "(1, 4, 4)\n"]


def test_a_driver_without_a_device_is_one_clear_error(pretend_device: dict[str, str]) -> None:
    done = run("from targets.board.cuda import Device; Device()", {**pretend_device, "PRETEND_NO_DEVICE": "1"})
    assert done.stderr.splitlines()[-1].endswith(
        "CUDA call cuInit failed (CUDA_ERROR_NO_DEVICE). Check the driver with nvidia-smi (tegrastats on a Jetson)."
    )


def test_a_machine_without_a_driver_is_one_clear_error() -> None:
    from targets.board.cuda import Device
    from targets.board.errors import MissingError

    if Path("/proc/driver/nvidia").exists():
        pytest.skip("a driver is here")
    with pytest.raises(MissingError, match="CUDA driver not found"):
        Device()
