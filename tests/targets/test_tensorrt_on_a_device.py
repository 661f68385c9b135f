"""TensorRT from building to inferring, as on a device: on the stand-ins of tests/pretend.

These show that calls, shapes, threads and options are right; only a device can show what an engine makes of a model
(examples/targets/engines.py).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small_network import pictures, save, small_network

from calibration.images import CalibrationSet

SCRIPT = """
import sys, threading
from pathlib import Path
import numpy as np
from calibration.images import CalibrationSet
from calibration.progress import Quiet
from targets import get_target
from targets.artefact import open_artefact
from targets.base import BuildOptions, RunnerOptions
from targets.board.options import EngineOptions
from targets.graph import load_model
from targets.reference import infer_model

student, images, into, precision, options = sys.argv[1:]
target, calibration = get_target("tensorrt"), CalibrationSet.open(Path(images))
asked = BuildOptions(engine=EngineOptions.parse(options))
built = target.build(Path(student), precision, calibration, asked, Quiet(), into=Path(into))
shown = np.asarray(calibration.images[:3])
expected = infer_model(load_model(Path(student)), shown)
with target.open(open_artefact(built.folder), RunnerOptions()) as runner:
    found = []
    elsewhere = threading.Thread(target=lambda: found.extend(runner.infer(image[None])[0] for image in shown))
    elsewhere.start()
    elsewhere.join()
    most = 1 if "dla" in options or "batch=1" in options else 3
    together = runner.infer(shown[:most])
    print(runner.settings)
    try:
        runner.infer(np.repeat(shown, 3, axis=0))
    except Exception as error:
        print(type(error).__name__, error)
assert built.drift["images"] == 16
np.testing.assert_allclose(found, expected, rtol=0.05)
np.testing.assert_allclose(together, expected[:most], rtol=0.05)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student, and as many pictures as a run sets aside."""
    folder = tmp_path_factory.mktemp("made")
    save(small_network(), folder / "student.onnx")
    CalibrationSet.write(folder / "images", pictures(128), origin="test pictures", made_from={})
    return folder


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("options", ["", "batch=1", "version-compatible"])
def test_an_engine_is_built_measured_and_runs_in_any_thread(
    pretend_device: dict[str, str], made: Path, tmp_path: Path, precision: str, options: str
) -> None:
    done = run(pretend_device, made, tmp_path / "engine", precision, options)
    assert done.returncode == 0, done.stderr
    assert "'cuda_graphs': 'on'" in done.stdout
    most = 1 if options == "batch=1" else 8
    assert f"DataError The engine takes up to {most} pictures at once, not 9" in done.stdout


def test_a_dla_core_takes_one_picture_whatever_the_batch(
    pretend_device: dict[str, str], made: Path, tmp_path: Path
) -> None:
    done = run(pretend_device, made, tmp_path / "engine", "fp16", "dla=1")
    assert done.returncode == 0, done.stderr
    assert "DLA core 1" in done.stderr and "DLA core -1" not in done.stderr
    assert "takes up to 1 pictures at once" in done.stdout


def test_an_engine_that_has_no_room_to_run_says_so_in_tensorrts_words(
    pretend_device: dict[str, str], made: Path, tmp_path: Path
) -> None:
    done = run({**pretend_device, "PRETEND_REFUSES": "context"}, made, tmp_path / "engine", "fp32", "")
    last = done.stderr.splitlines()[-1]
    assert "ModelError: The engine loads but cannot run (Error Code 2: OutOfMemory" in last and "Close other" in last


def run(environment: dict[str, str], made: Path, into: Path, *asked: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, str(made / "student.onnx"), str(made / "images"), str(into), *asked]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_it_keeps_the_contract_of_every_target(pretend_device: dict[str, str]) -> None:
    contract = Path(__file__).parents[1] / "contract" / "test_targets.py"
    chosen = " or ".join(f"[tensorrt-{precision}" for precision in ("fp32", "fp16", "int8"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(contract), "-k", chosen]
    done = subprocess.run(command, env=pretend_device, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "runs elsewhere" not in done.stdout
