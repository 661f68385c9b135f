"""The kill, fuzz and soak campaigns, run as by their scripts but with few trials."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

for name in ("torch", "onnxscript", "embreex", "onnxruntime", "openvino"):
    pytest.importorskip(name, reason=f"the campaigns need {name}")
pytest.importorskip("resource", reason="limits and memory of processes are POSIX's")

from fuzz import fuzz  # noqa: E402
from parsers import PARSERS  # noqa: E402
from soak import steps  # noqa: E402

CAMPAIGN = Path(__file__).parents[3] / "examples" / "robustness" / "campaign.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the campaign forks")
def test_killed_verbs_lose_nothing() -> None:
    command = [sys.executable, str(CAMPAIGN), "kill", "--trials", "2", "--verbs", "distill", "export"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split("|")[2:5] for line in done.stdout.splitlines()[2:]] == [[" 1 ", " 1 ", " 0 "]] * 2


@pytest.mark.parametrize("parser", PARSERS)
def test_a_parser_raises_nothing_but_its_one_line(parser: str) -> None:
    if parser in ("hdf5", "mesh"):
        pytest.importorskip({"hdf5": "h5py", "mesh": "trimesh"}[parser], reason=f"{parser} files need it")
    found = fuzz(parser, 150, 1, guided=False)
    assert found.inputs == 150 and not found.faults


@pytest.mark.parametrize("options", [[], ["--unguided"]])
def test_a_campaign_that_is_not_guided_by_coverage_says_so(options: list[str]) -> None:
    command = [sys.executable, str(CAMPAIGN), "fuzz", "--parsers", "index", "--inputs", "20", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = importlib.util.find_spec("atheris") is None and not options
    assert ("atheris is not installed: mutating without coverage" in done.stderr) == told


def test_steps_keep_their_memory() -> None:
    memory = steps(120)
    assert memory.times[-1] >= 120
    assert memory.growth < 0.05, memory.megabytes


def test_few_of_each_are_enough_to_run_the_soak_campaign() -> None:
    few = ["--steps", "4", "--exports", "2", "--predictions", "2"]
    done = subprocess.run([sys.executable, str(CAMPAIGN), "soak", *few], capture_output=True, text=True, check=False)
    assert [line.split("|")[2] for line in done.stdout.splitlines()[3:]] == [" 2 ", " 2 "], done.stderr


@pytest.mark.parametrize("counted", ["--steps", "--exports", "--predictions"])
def test_one_measurement_of_memory_shows_no_growth(counted: str) -> None:
    command = [sys.executable, str(CAMPAIGN), "soak", counted, "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "must be at least 2" in done.stderr


SIMULATE = """
import sys
from pathlib import Path
from calibration.progress import Quiet
from edgekd.simulate.rooms import RoomSettings
from edgekd.simulate.store import write_set
if __name__ == "__main__":
    settings = RoomSettings(height=64, width=96, views_per_room=16)
    write_set(Path("rooms"), settings, seed=0, count=640, workers=2, keep_depth=False, progress=Quiet())
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="a process's children are looked for in /proc")
def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "simulate.py"
    script.write_text(SIMULATE)
    process = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path)
    deadline = time.monotonic() + 60
    listed, children = Path(f"/proc/{process.pid}/task/{process.pid}/children"), []
    while len(children) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
        children = listed.read_text().split()
    assert len(children) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 30
    while (alive := [child for child in children if _alive(child)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive


def _alive(process: str) -> bool:
    """Whether a process still runs: one whose parent is gone may stay for a while as a zombie (Z)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
