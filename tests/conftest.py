"""What every test relies on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every process they start: those
# that test what Ctrl-C does would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests that run beside each other (pytest -n) share the cores: with a thread for every core they wait for each other.
if (workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))) > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


@pytest.fixture(scope="session")
def pretend_device(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with a CUDA driver and a TensorRT that are stand-ins: see tests/pretend."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler is here to build the stand-in driver")
    folder = tmp_path_factory.mktemp("driver")
    source = Path(__file__).parent / "pretend" / "driver.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(folder / "libcuda.so.1"), str(source)], check=True)
    paths = os.pathsep.join([str(source.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": paths, "EDGEKD_CACHE": str(folder / "cache")}
