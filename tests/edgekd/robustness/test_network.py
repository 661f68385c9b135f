"""No verb opens a connection: Python's sockets refuse, and where the system permits it there is no network at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

for name in ("onnxruntime", "openvino"):
    pytest.importorskip(name, reason=f"the verbs are tried with {name}")

GUARDED = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname"):
        print("NETWORK", event, arguments, file=sys.stderr, flush=True)
        raise OSError("no network")

sys.addaudithook(refuse)
from edgekd.cli.app import run
codes = [run(line.split()) for line in sys.argv[1:]]
import threading, time
deadline = time.monotonic() + 5  # a report of use would come from a thread
while threading.active_count() > 1 and time.monotonic() < deadline:
    time.sleep(0.1)
sys.exit(max(codes))
"""

VERBS = (
    "export small --target onnxruntime --target openvino",
    "bench small --seconds 0 --target openvino",
    "check small",
    "report small",
    "verify small",
    "predict small room.png",
    "bundle small --target openvino",
    "doctor",
)


def isolated() -> list[str]:
    """The command prefix that removes the network, where the system permits it."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rn", "true"], capture_output=True, check=False).returncode:
        return []
    return [unshare, "-rn"]


def at_home(home: Path) -> dict[str, str]:
    """An environment with an empty home, and without what makes ONNX Runtime keep silent on test machines."""
    home.mkdir()
    silenced = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in silenced}
    return {**kept, "HOME": str(home.absolute())}


def reports(home: Path) -> list[Path]:
    """What ONNX Runtime keeps of its reports: it sends them by itself, where no hook of Python sees it."""
    return list(home.rglob("*onnxruntime*"))


def test_no_verb_asks_the_network(run_folder: Path) -> None:
    from PIL import Image
    from small_network import pictures

    Image.fromarray(pictures(1)[0]).save("room.png")
    command = [*isolated(), sys.executable, "-c", GUARDED, *VERBS]
    done = subprocess.run(command, capture_output=True, text=True, env=at_home(Path("home")), check=False)
    assert done.returncode == 0, done.stderr
    assert "NETWORK" not in done.stderr
    assert reports(Path("home")) == []


def test_a_bundle_does_not_report_its_use(run_folder: Path) -> None:
    from edgekd.cli.app import run

    assert run(["bundle", "small", "--target", "onnxruntime"]) == 0
    command = [
        *isolated(),
        sys.executable,
        "runs/small/bundle/small/run.py",
        "--seconds",
        "0",
        "--runtime",
        "onnxruntime",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=at_home(Path("home")), check=False)
    assert done.returncode == 0, done.stderr
    assert reports(Path("home")) == []


def test_the_guard_sees_a_connection() -> None:
    code = GUARDED.split("from edgekd")[0] + "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "NETWORK" in done.stderr


def test_importing_openvino_does_not_report_it() -> None:
    code = GUARDED.split("from edgekd")[0] + (
        "from targets.openvino import OpenVino\n"
        "assert OpenVino().status().can_run\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
        "import time; time.sleep(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "NETWORK" not in done.stderr, done.stderr


def test_hugging_faces_client_is_told_not_to_report() -> None:
    pytest.importorskip("transformers", reason="teachers from Hugging Face need it")
    pytest.importorskip("torch", reason="teachers from Hugging Face need it")
    code = (
        "from edgekd.models.from_huggingface import huggingface_teacher\n"
        "from calibration.errors import FileError\n"
        "from calibration.progress import Quiet\n"
        "try: huggingface_teacher('hf:./nothing', Quiet())\n"
        "except FileError: pass\n"
        "from huggingface_hub import constants\n"
        "assert constants.HF_HUB_DISABLE_TELEMETRY\n"
    )
    done = subprocess.run([*isolated(), sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
