"""A bundle: what is in it, and that it runs by itself, without edgekd, on the oldest Python it is for."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
from array import array
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from PIL import Image
from small_network import HEIGHT, SPEC, WIDTH, pictures, save, small_network

from calibration.errors import FileError, UsageError
from calibration.images import CalibrationSet
from calibration.progress import Quiet
from targets import get_target
from targets.base import BuildOptions
from targets.board.errors import MisfitError
from targets.board.manifest import Bundle, manifest_digest
from targets.board.options import EngineOptions
from targets.board.runtimes import open_model
from targets.bundle.assemble import assemble
from targets.bundle.shell import build_script
from targets.bundle.verify import bundle_faults
from targets.bundle.write import BundleOptions, Encoding, WrittenBundle, write_bundle
from targets.camera import parse_size, with_camera
from targets.graph import load_model, read_graph
from targets.reference import infer_model
from targets.tensorrt_rtx import installed_module, rtx_refusal

CAMERA = (60, 80)

# Everything that the bundle must not need is not there, and neither is the other runtime.
ALONE = """
import runpy, sys
for name in {absent!r}:
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
ABSENT = {"edgekd", "targets", "calibration", "torch", "PIL", "cv2", "onnx", "typer", "rich", "scipy", "tensorrt"}


def encodings(folder: Path, student: Path) -> list[Encoding]:
    calibration = CalibrationSet.write(folder / "set", pictures(16), origin="", made_from={})
    made = []
    for target, served in (("tensorrt", ("tensorrt", "tensorrt-rtx")), ("onnxruntime", ("openvino", "onnxruntime"))):
        for precision in ("fp32", "int8"):
            into = folder / f"{target}-{precision}"
            built = get_target(target).build(student, precision, calibration, BuildOptions(), Quiet(), into=into)
            made.append(Encoding(into / "model.onnx", built.precision, served))
    return [made[1], made[3], Encoding(made[0].path, "fp32", (*made[0].runtimes, *made[2].runtimes))]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Encoding]]:
    pytest.importorskip("onnxruntime", reason="the encodings are made with onnxruntime")
    folder = tmp_path_factory.mktemp("parts")
    student = save(small_network(), folder / "student.onnx")
    return student, encodings(folder, student)


def write(parts: tuple[Path, list[Encoding]], into: Path, **options: object) -> WrittenBundle:
    student, made = parts
    settings = BundleOptions("small", **options)
    return write_bundle(read_graph(student), made, pictures(6, seed=9), settings, {"student": "s"}, into)


@pytest.fixture
def bundle(parts: tuple[Path, list[Encoding]], tmp_path: Path) -> WrittenBundle:
    return write(parts, tmp_path / "small")


def run(bundle: Path, *arguments: str, absent: set[str] = frozenset(), python: str = sys.executable):
    code = ALONE.format(absent=ABSENT | absent)
    command = [python, "-c", code, str(bundle / "run.py"), "--seconds", "0", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=bundle.parent)


def test_the_runner_is_python_3_8_and_needs_the_standard_library_and_numpy_alone() -> None:
    tree = ast.parse(assemble(), feature_version=(3, 8))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    beyond = {name.split(".")[0] for name in names} - sys.stdlib_module_names
    assert beyond == {"numpy", "onnxruntime", "openvino", "PIL", "cv2"}  # the last four where they are used


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
        assert done.returncode == 3 and "None of the bundle's runtimes is here" in done.stderr


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


def test_it_gives_the_depth_that_the_model_gives(bundle: WrittenBundle, tmp_path: Path, parts) -> None:
    rgb = pictures(1, 4, 60, 80)[0]
    Image.fromarray(rgb).save(tmp_path / "room.png")
    done = run(bundle.folder, "room.png", "--precision", "fp32", "--runtime", "onnxruntime", "--out", "got")
    assert done.returncode == 0, done.stderr
    depth = np.asarray(Image.open(tmp_path / "got" / "room.depth.png")) / 1000
    expected = infer_model(onnx.load(parts[0]), SPEC.framing.image(rgb)[None])[0]
    assert np.abs(depth / expected - 1).mean() < 2e-3


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


def test_pictures_that_cannot_be_taken_are_left_out_told_and_counted(parts, tmp_path: Path) -> None:
    """Whatever is wrong with one: empty, of another size than the camera's, or of a kind that no library here reads."""
    written = write(parts, tmp_path / "small", camera=CAMERA)
    good = pictures(1, 4, *CAMERA)[0]
    (tmp_path / "in").mkdir()
    Image.fromarray(good).save(tmp_path / "in" / "a.png")
    Image.fromarray(good[:50]).save(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "c.png").write_bytes(b"")
    Image.fromarray(good).save(tmp_path / "in" / "d.jpg")
    Image.fromarray(good).save(tmp_path / "in" / "e.png")
    done = run(written.folder, "in", "--precision", "fp32", "--runtime", "onnxruntime", "--json")
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert [Path(found["picture"]).name for found in result["pictures"]] == ["a.png", "e.png"]
    assert [Path(left["picture"]).name for left in result["left_out"]] == ["b.png", "c.png", "d.jpg"]
    said = [left["message"] for left in result["left_out"]]
    assert "not 80x50" in said[0] and "empty (0 bytes)" in said[1] and "needs Pillow or OpenCV" in said[2]
    whole = run(written.folder, "in/a.png", "in/e.png", "--precision", "fp32", "--runtime", "onnxruntime")
    assert whole.returncode == 0


# OpenCV as far as a camera needs it: frames come, and then none any more.
CAMERA_OF_TEN = """
import numpy as np
CAP_PROP_FRAME_HEIGHT, CAP_PROP_FRAME_WIDTH, CAP_GSTREAMER, CAP_ANY = range(4)
class VideoCapture:
    def __init__(self, *which):
        self.left = 10
    def set(self, *what):
        pass
    def read(self):
        self.left -= 1
        return self.left >= 0, np.full((60, 80, 3), 90, np.uint8)
    def release(self):
        pass
"""


@pytest.mark.parametrize(("source", "code"), [("0", 1), ("/dev/video2", 1), ("v4l2src ! appsink", 1), ("clip.avi", 0)])
def test_a_camera_that_stops_is_an_error_and_a_video_that_ends_is_none(
    bundle: WrittenBundle, tmp_path: Path, source: str, code: int
) -> None:
    (tmp_path / "cameras").mkdir()
    (tmp_path / "cameras" / "cv2.py").write_text(CAMERA_OF_TEN)
    command = [sys.executable, str(bundle.folder / "run.py"), "--seconds", "0", "--runtime", "onnxruntime", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "cameras")}
    done = subprocess.run([*command, "--camera", source], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("stopped after 10 frames. Check its cable" in done.stderr) is bool(code)
    if not code:
        assert "frames/s" in done.stderr  # a clip of less than a second, too; and the output is JSON alone
        assert json.loads(done.stdout)["failed"] == []


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
    (bundle.folder / "result.json").mkdir()  # root writes everywhere, but not over a folder
    done = run(bundle.folder, "--runtime", "onnxruntime", "--json")
    assert done.returncode == 0 and len(json.loads(done.stdout)["rows"]) == 2
    assert "result.json is not kept: Cannot write" in done.stderr


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
    assert "it was built with effort=5,batch=2, wanted is effort=3,batch=8" in misfit
    assert f"'{folder / 'run.py'}' --rebuild --runtime tensorrt" in misfit and misfit.endswith(
        "--engine effort=3,batch=8"
    )
    assert options == "batch=8"


def test_the_archive_holds_the_folder_and_is_the_same_twice(parts, tmp_path: Path) -> None:
    first, second = (write(parts, tmp_path / name / "small") for name in ("a", "b"))
    assert first.archive.read_bytes() == second.archive.read_bytes() and first.digest == second.digest
    with tarfile.open(first.archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    assert run(tmp_path / "unpacked" / "small", "--runtime", "onnxruntime").returncode == 0


def test_every_altered_or_missing_file_is_named(bundle: WrittenBundle) -> None:
    whole = {path: path.read_bytes() for path in bundle.folder.rglob("*") if path.is_file()}
    for path, content in whole.items():
        path.write_bytes(content[:-3])
        with pytest.raises(MisfitError, match=path.name):
            Bundle(bundle.folder)
        path.unlink()
        with pytest.raises(MisfitError, match=path.name):
            Bundle(bundle.folder)
        path.write_bytes(content)
    (bundle.folder / "models" / "fp32.onnx").write_bytes(b"")
    done = run(bundle.folder)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.endswith(
        "fp32.onnx was altered or truncated since the bundle was made. Copy the bundle again.\n"
    )


def test_a_failed_self_test_says_by_how_much_and_the_others_stand(bundle: WrittenBundle) -> None:
    manifest = json.loads((bundle.folder / "manifest.json").read_text())
    for model in manifest["models"]:
        if model["precision"] == "int8":
            model["tolerance"] = 1e-9
    manifest["digest"] = manifest_digest(manifest)
    (bundle.folder / "manifest.json").write_text(json.dumps(manifest))
    done = run(bundle.folder, "--runtime", "onnxruntime", "--json")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert line.startswith("Error: The self-test of int8 failed: depth differs by 0.") and "0.00% is allowed" in line
    kept = json.loads((bundle.folder / "result.json").read_text())
    assert kept == json.loads(done.stdout)
    assert [row["precision"] for row in kept["rows"]] == ["fp32"]
    assert [failed["precision"] for failed in kept["failed"]] == ["int8"]
    alone = run(bundle.folder, "--runtime", "onnxruntime", "--precision", "int8")
    assert alone.returncode == 1 and alone.stderr.splitlines() == [line]


@pytest.mark.parametrize("part", ["tolerance", "engine", "crop"])
def test_a_manifest_that_was_altered_is_refused(bundle: WrittenBundle, part: str) -> None:
    """Tolerances, framing and engine options decide what run.py does as much as any file."""
    path = bundle.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    if part == "tolerance":
        manifest["models"][0]["tolerance"] = 9.0
    elif part == "engine":
        manifest["engine"] = "effort=5"
    else:
        manifest["framing"]["crop"] = [3, 4]
    path.write_text(json.dumps(manifest))
    done = run(bundle.folder)
    assert done.returncode != 0 and "manifest.json was altered" in done.stderr
    with pytest.raises(FileError, match="was altered"):
        bundle_faults(bundle.folder)


def test_the_self_test_notices_exchanged_colours(parts, bundle: WrittenBundle) -> None:
    student, _ = parts
    picture = np.asarray(Image.open(bundle.folder / "selftest" / "picture.png"))
    right = np.load(bundle.folder / "selftest" / "depth.npy").astype(np.float32)
    swapped = infer_model(onnx.load(student), np.ascontiguousarray(picture[None, :, :, ::-1]))[0]
    noticed = np.mean(np.abs(swapped - right) / right) > max(bundle.tolerances.values())
    assert noticed == ("red and blue exchanged" not in bundle.blind_to)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--runtime", "tensorrt"], 3, "tensorrt is not installed"),
        (["--precision", "fp16", "--runtime", "onnxruntime"], 2, "no fp16 for onnxruntime"),
        (["nowhere.png"], 2, "There is no nowhere.png"),
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
    assert done.returncode == 3 and "There is no CUDA driver here" in done.stderr


def test_frames_of_a_camera_go_in_as_they_are(parts, tmp_path: Path) -> None:
    written = write(parts, tmp_path / "small", camera=CAMERA)
    rgb = pictures(1, 4, *CAMERA)[0]
    Image.fromarray(rgb).save(tmp_path / "frame.png")
    Image.fromarray(rgb[:50]).save(tmp_path / "other.png")
    done = run(written.folder, "frame.png", "--precision", "fp32", "--runtime", "onnxruntime", "--out", "got")
    assert done.returncode == 0, done.stderr
    depth = np.asarray(Image.open(tmp_path / "got" / "frame.depth.png")) / 1000
    expected = infer_model(onnx.load(parts[0]), SPEC.framing.image(rgb)[None])[0]
    assert np.abs(depth / expected - 1).mean() < 3e-3  # framing rounds to 8 bits, the graph does not
    done = run(written.folder, "other.png", "--precision", "fp32", "--runtime", "onnxruntime")
    assert done.returncode == 2 and "take frames of 80x60, not 80x50" in done.stderr


def message(picture: np.ndarray, encoding: str, padding: int = 0) -> SimpleNamespace:
    """What a camera node publishes; rows may be longer than the picture is wide."""
    height, width = picture.shape[:2]
    rows = np.pad(picture.reshape(height, -1), ((0, 0), (0, padding)))
    return SimpleNamespace(height=height, width=width, encoding=encoding, step=rows.shape[1], data=rows.tobytes())


def test_the_ros_node_takes_its_depth_from_the_runner(bundle: WrittenBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(__file__).resolve().parents[3] / "examples" / "ros2" / "depth_node.py"
    spec = importlib.util.spec_from_file_location("depth_node", path)
    assert spec is not None and spec.loader is not None
    node = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(node)
    rgb = pictures(1, 4, 60, 80)[0]
    for encoding, sent in (("rgb8", rgb), ("bgr8", rgb[..., ::-1])):
        assert np.array_equal(node.to_rgb(message(np.ascontiguousarray(sent), encoding, padding=5)), rgb)
    assert np.array_equal(node.to_rgb(message(rgb[..., 0], "mono8")), np.repeat(rgb[..., :1], 3, axis=2))
    with pytest.raises(ValueError, match="pictures are 16UC1"):
        node.to_rgb(message(rgb, "16UC1"))
    monkeypatch.setitem(sys.modules, "edgekd_bundle", None)  # removed again afterwards
    runner = node.load_runner(str(bundle.folder))
    predictor = runner.Predictor(str(bundle.folder), "onnxruntime", "fp32")
    depth = predictor.depth(rgb)
    assert np.allclose(
        depth, infer_model(load_model(bundle.folder / "models/fp32.onnx"), SPEC.framing.image(rgb)[None])[0], rtol=2e-3
    )
    sent = node.fill(SimpleNamespace(), depth, "header")
    assert (sent.encoding, sent.step, sent.header) == ("32FC1", 4 * WIDTH, "header")
    assert isinstance(sent.data, array) and sent.data.typecode == "B"  # all else ROS checks byte by byte, in Python
    assert np.array_equal(np.frombuffer(sent.data, np.float32).reshape(sent.height, sent.width), depth)
    predictor.close()


@pytest.mark.parametrize("name", ["fp32", "int8-s8"])
def test_tensorrt_accepts_the_framing_in_the_graph(parts, name: str) -> None:
    if installed_module() is None:
        pytest.skip("TensorRT for RTX is not installed")
    model = next(onnx.load(encoding.path) for encoding in parts[1] if encoding.file == f"models/{name}.onnx")
    framed = with_camera(model, SPEC.framing, CAMERA)
    onnx.checker.check_model(framed, full_check=True)
    assert rtx_refusal(framed.SerializeToString()) is None


@pytest.mark.parametrize("text", ["640", "640x", "axb", "0x480", "640x480x3"])
def test_a_camera_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be meant"):
        parse_size(text)
    assert parse_size("640x480") == (480, 640)


@pytest.mark.parametrize(
    ("number", "has", "has_not"),
    [
        ("8502", "--fp16 --int8", "--stronglyTyped"),
        ("100300", "--stronglyTyped", "--int8"),
        ("110400", "--memPoolSize=workspace:256", "--stronglyTyped"),
    ],
)
def test_the_shell_script_takes_the_line_of_the_version_it_finds(
    tmp_path: Path, number: str, has: str, has_not: str
) -> None:
    script = build_script([("models/int8-s8.onnx", "int8")], (HEIGHT, WIDTH), EngineOptions(workspace=256))
    (tmp_path / "build.sh").write_text(script)
    trtexec = tmp_path / "trtexec"
    trtexec.write_text(
        f'#!/bin/sh\necho "&&&& RUNNING TensorRT.trtexec [TensorRT v{number}] # $*"\necho "$*" >> asked\n'
    )
    trtexec.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "build.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0] == "--help" and len(asked) == 2
    assert has in asked[1] and has_not not in asked[1] and "--maxShapes=image:8x32x48x3" in asked[1]
    assert done.stdout.splitlines()[-1] == "Next: python3 run.py"


def test_the_shell_script_goes_on_past_a_precision_that_fails(tmp_path: Path) -> None:
    models = [("models/fp32.onnx", "fp32"), ("models/int8-s8.onnx", "int8")]
    (tmp_path / "build.sh").write_text(build_script(models, (HEIGHT, WIDTH), EngineOptions(dla=0)))
    trtexec = tmp_path / "trtexec"
    trtexec.write_text(
        '#!/bin/sh\necho "TensorRT.trtexec [TensorRT v8502]"\n'
        'case "$*" in *fp32*) exit 1 ;; *saveEngine*) touch engines/tensorrt-int8.engine ;; esac\n'
    )
    trtexec.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "build.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == "Not built: fp32"
    assert (tmp_path / "engines" / "tensorrt-int8.engine").exists()


def test_the_shell_script_without_trtexec_says_what_brings_it(tmp_path: Path) -> None:
    if Path("/usr/src/tensorrt/bin/trtexec").exists() or shutil.which("trtexec"):
        pytest.skip("trtexec is here")
    (tmp_path / "build.sh").write_text(build_script([], (1, 1), EngineOptions()))
    done = subprocess.run(["sh", "build.sh"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3 and "apt install libnvinfer-bin" in done.stderr
