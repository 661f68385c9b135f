"""A bundle runs by itself, without edgekd, on the oldest Python it is for."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from small_bundle import run, write
from small_network import SPEC, pictures

from targets.board.manifest import Bundle
from targets.board.predictor import fastest_first
from targets.board.runtimes import open_model
from targets.bundle.assemble import assemble
from targets.bundle.write import WrittenBundle
from targets.reference import infer_model
from targets.tensorrt_rtx import installed_module


def test_the_runner_is_python_3_8_and_needs_the_standard_library_and_numpy_alone() -> None:
    tree = ast.parse(assemble(), feature_version=(3, 8))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    beyond = {name.split(".")[0] for name in names} - sys.stdlib_module_names
    assert beyond == {"numpy", "onnxruntime", "openvino", "PIL", "cv2"}  # the last four only where they are used


def test_the_runner_runs_on_python_3_8(bundle: WrittenBundle) -> None:
    found = [*Path.home().glob(".pyenv/versions/3.8.*/bin/python"), shutil.which("python3.8")]
    works = [
        str(path)
        for path in found
        if path and subprocess.run([path, "-V"], capture_output=True, check=False).returncode == 0
    ]
    if not works:
        pytest.skip("no Python 3.8 is here; test_the_runner_is_python_3_8 has read the syntax")
    code = "import sys; compile(open(sys.argv[1]).read(), 'run.py', 'exec')"
    subprocess.run([works[0], "-c", code, str(bundle.folder / "run.py")], check=True)
    if subprocess.run([works[0], "-c", "import numpy"], capture_output=True, check=False).returncode == 0:
        done = run(bundle.folder, python=works[0])
        assert done.returncode == 3 and "None of the bundle's runtimes is available" in done.stderr


@pytest.mark.parametrize(("runtime", "other"), [("onnxruntime", "openvino"), ("openvino", "onnxruntime")])
def test_it_passes_its_self_test_with_numpy_and_one_runtime(bundle: WrittenBundle, runtime: str, other: str) -> None:
    pytest.importorskip(runtime, reason=f"{runtime} is what this test is about")
    done = run(bundle.folder, "--json", absent={other})
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["runtime"] == runtime
    assert [row["precision"] for row in result["rows"]] == ["int8", "fp32"]
    for row in result["rows"]:
        assert row["error"] < row["tolerance"] and 0 < row["p50_ms"] <= row["p99_ms"]
    assert json.loads((bundle.folder / "result.json").read_text())["rows"] == result["rows"]
    fastest = min(result["rows"], key=lambda row: row["p50_ms"])
    assert f"Fastest: {fastest['precision']}. Next:" in done.stderr


def test_it_gives_the_depth_that_the_model_gives(bundle: WrittenBundle, tmp_path: Path, parts) -> None:
    rgb = pictures(1, 4, 60, 80)[0]
    Image.fromarray(rgb).save(tmp_path / "room.png")
    chosen = ("--precision", "fp32", "--runtime", "onnxruntime", "--threads", "2")
    done = run(bundle.folder, "room.png", *chosen, "--out", "got", "--json")
    assert done.returncode == 0, done.stderr
    depth = np.asarray(Image.open(tmp_path / "got" / "room.depth.png")) / 1000
    expected = infer_model(onnx.load(parts[0]), SPEC.framing.image(rgb)[None])[0]
    assert np.abs(depth / expected - 1).mean() < 2e-3
    (told,), (row,) = (json.loads(done.stdout)[name] for name in ("pictures", "rows"))
    near, middle, far = np.percentile(expected, (1, 50, 99))
    assert (told["near"], told["median"], told["far"]) == pytest.approx((near, middle, far), rel=2e-3)
    assert told["seen"] == pytest.approx([0, 60 * 1 / 18, 80, 60 * 17 / 18])  # 80 pixels wide: 53.3 high
    assert "room.depth.png, of its columns 0 to 80 and rows 3 to 57 of 80x60" in done.stderr
    assert "2 threads" in row["runtime"]
    again = run(bundle.folder, *chosen, "--engine", "batch=1")
    assert again.returncode == 0 and "--engine has no effect: onnxruntime needs no engine" in again.stderr
    assert not (bundle.folder / "result.json").exists()  # of one precision: it says nothing about the fastest


def test_the_fastest_is_that_of_the_last_full_run_with_the_same_runtime(bundle: WrittenBundle) -> None:
    opened = Bundle(bundle.folder)

    def first(runtime: str) -> str:
        return fastest_first(opened, runtime, opened.models_for(runtime))[0].precision

    assert first("onnxruntime") == "int8"
    rows = [{"precision": "int8", "p50_ms": 5.0}, {"precision": "fp32", "p50_ms": 3.0}]
    (bundle.folder / "result.json").write_text(json.dumps({"runtime": "onnxruntime", "rows": rows}))
    assert (first("onnxruntime"), first("openvino")) == ("fp32", "int8")
    (bundle.folder / "result.json").write_text("{")
    assert first("onnxruntime") == "int8"


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_one_picture_at_a_time_gives_what_several_at_once_give(bundle: WrittenBundle, parts, runtime: str) -> None:
    pytest.importorskip(runtime, reason=f"{runtime} is what this test is about")
    opened = Bundle(bundle.folder)
    model = next(model for model in opened.models_for(runtime) if model.precision == "fp32")
    ready = open_model(opened, model, runtime, 1, opened.options, False, lambda *said: None)
    images = pictures(3)
    depths = [ready.infer(images), *(ready.infer(image[None]) for image in images), ready.infer(images[1:])]
    ready.close()
    expected = infer_model(onnx.load(parts[0]), images)
    np.testing.assert_allclose(depths[0], expected, rtol=1e-3)
    np.testing.assert_allclose(np.concatenate(depths[1:4]), expected, rtol=1e-3)
    np.testing.assert_allclose(depths[4], expected[1:], rtol=1e-3)


def test_a_runtime_that_is_damaged_is_as_good_as_none(bundle: WrittenBundle, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "openvino.py").write_text("raise ImportError('libopenvino.so: cannot open')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "broken")}
    command = [sys.executable, str(bundle.folder / "run.py"), "--seconds", "0", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and json.loads(done.stdout)["runtime"] == "onnxruntime", done.stderr
    asked = subprocess.run(
        [*command, "--runtime", "openvino"], env=environment, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 3 and "libopenvino.so: cannot open" in asked.stderr and "pip install" in asked.stderr


def test_python_without_numpy_is_told_what_is_missing(bundle: WrittenBundle) -> None:
    done = run(bundle.folder, absent={"numpy"})
    assert done.returncode == 3 and done.stderr == "Error: numpy is not installed. Install it: pip install numpy\n"


def test_whoever_reads_the_output_may_go(bundle: WrittenBundle) -> None:
    command = f"{sys.executable} {bundle.folder / 'run.py'} --seconds 0 --runtime onnxruntime --json | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_a_folder_that_cannot_be_written_costs_the_record_alone(bundle: WrittenBundle) -> None:
    (bundle.folder / "result.json").mkdir()  # even root cannot write over a folder
    done = run(bundle.folder, "--runtime", "onnxruntime", "--json")
    assert done.returncode == 0 and len(json.loads(done.stdout)["rows"]) == 2
    assert "result.json was not saved: Cannot write" in done.stderr


ENGINES = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("run", sys.argv[1] + "/run.py")
run = sys.modules["run"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)
bundle = run.Bundle(run.Path(sys.argv[1]))
model = next(model for model in bundle.models_for("tensorrt") if model.precision == "int8")
def opened(asked, rebuild=False):
    run.open_model(bundle, model, "tensorrt", 1, asked, rebuild, lambda *said: None).close()
opened(run.EngineOptions.parse("effort=5,batch=2"), True)
opened(None)  # as it was built
print(run.Predictor(sys.argv[1], "tensorrt", "int8").about)
try:
    opened(run.EngineOptions.parse("effort=3"))
except run.MisfitError as error:
    print(error)
opened(None, True)  # as the bundle says
print(run.built_options(str(bundle.folder / "engines" / "tensorrt-int8.engine")))
"""


def test_an_engine_of_other_options_is_used_as_it_was_built(
    pretend_device: dict[str, str], parts, tmp_path: Path
) -> None:
    folder = write(parts, tmp_path / "küche eins").folder
    done = subprocess.run(
        [sys.executable, "-c", ENGINES, str(folder)], env=pretend_device, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    about, misfit, options = done.stdout.splitlines()
    assert about.startswith("int8, tensorrt")
    assert "it was built with effort=5,batch=2, not effort=3,batch=8" in misfit
    assert f"'{folder / 'run.py'}' --rebuild --runtime tensorrt" in misfit and misfit.endswith(
        "--engine effort=3,batch=8"
    )
    assert options == "batch=8"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--runtime", "tensorrt"], 3, "tensorrt is not installed"),
        (["--precision", "fp16", "--runtime", "onnxruntime"], 2, "no fp16 model for onnxruntime"),
        (["nowhere.png"], 2, "nowhere.png not found"),
        (["--engine", "efort=3"], 2, "Did you mean effort=N"),
        (["--camera", "0", "--runtime", "onnxruntime"], 3, "A camera needs OpenCV"),
    ],
)
def test_what_cannot_be_done_is_one_line(bundle: WrittenBundle, arguments: list[str], code: int, says: str) -> None:
    done = run(bundle.folder, *arguments)
    assert done.returncode == code and says in done.stderr.splitlines()[-1], done.stderr


def test_rtx_without_a_driver_never_crashes(bundle: WrittenBundle) -> None:
    if installed_module() is None or Path("/proc/driver/nvidia").exists():
        pytest.skip("TensorRT for RTX is not installed, or a driver is here")
    done = run(bundle.folder, "--runtime", "tensorrt-rtx")
    assert done.returncode == 3 and "CUDA driver not found" in done.stderr
