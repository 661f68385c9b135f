"""Set-up and fixtures for all tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# A shell that starts the tests in the background makes them, and every process they start, ignore Ctrl-C: the tests of
# Ctrl-C would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests import ONNX Runtime as it is, which would then report its use.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Parallel tests (pytest -n) share the cores: with one thread per core each, they would wait for each other.
if (workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))) > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


@pytest.fixture(scope="session")
def pretend_device(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with stand-ins for the CUDA driver and TensorRT: see tests/pretend."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler is here to build the stand-in driver")
    folder = tmp_path_factory.mktemp("driver")
    source = Path(__file__).parent / "pretend" / "driver.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(folder / "libcuda.so.1"), str(source)], check=True)
    paths = os.pathsep.join([str(source.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": paths, "EDGEKD_CACHE": str(folder / "cache")}
