"""What a bundle makes of pictures, cameras, videos and ROS messages."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from array import array
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from PIL import Image
from small_bundle import CAMERA, run, write
from small_network import SPEC, WIDTH, pictures

from calibration.errors import UsageError
from targets.board.main import _say
from targets.bundle.write import WrittenBundle
from targets.camera import parse_size, with_camera
from targets.graph import load_model
from targets.reference import infer_model
from targets.tensorrt_rtx import installed_module, rtx_refusal


def test_pictures_that_cannot_be_taken_are_left_out_told_and_counted(parts, tmp_path: Path) -> None:
    """Empty, of another size than the camera's, or of a kind that no library here reads."""
    written = write(parts, tmp_path / "small", camera=CAMERA)
    good = pictures(1, 4, *CAMERA)[0]
    (tmp_path / "in").mkdir()
    Image.fromarray(good).save(tmp_path / "in" / "a.png")
    Image.fromarray(good[:50]).save(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "c.png").write_bytes(b"")
    Image.fromarray(good).save(tmp_path / "in" / "d.jpg")
    Image.fromarray(good).save(tmp_path / "in" / "e.png")
    (tmp_path / "in" / "more").mkdir()
    Image.fromarray(good).save(tmp_path / "in" / "more" / "f.png")
    done = run(written.folder, "in", "--precision", "fp32", "--runtime", "onnxruntime", "--json")
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert [Path(found["picture"]).name for found in result["pictures"]] == ["a.png", "e.png"]
    assert [Path(left["picture"]).name for left in result["left_out"]] == ["b.png", "c.png", "d.jpg"]
    said = [left["message"] for left in result["left_out"]]
    assert "not 80x50" in said[0] and "empty (0 bytes)" in said[1] and "needs Pillow or OpenCV" in said[2]
    assert "Pictures in subfolders of in, such as more, are skipped" in done.stderr
    assert result["pictures"][0]["seen"] == pytest.approx([0, 60 * 1 / 18, 80, 60 * 17 / 18])
    readme = (written.folder / "README.md").read_text()
    assert "Of a frame of 80x60 the network sees the columns 0 to 80 and the rows 3 to 57" in readme
    whole = run(written.folder, "in/a.png", "in/e.png", "--precision", "fp32", "--runtime", "onnxruntime")
    assert whole.returncode == 0


def test_the_name_of_a_picture_gives_the_terminal_no_orders(bundle: WrittenBundle, tmp_path: Path) -> None:
    for name in ("\x1b[31mred.png", "two\nlines.png"):
        Image.fromarray(pictures(1, 4)[0]).save(tmp_path / name)
    (tmp_path / "\x1b[2Jempty.png").write_bytes(b"")
    done = run(bundle.folder, ".", "--precision", "fp32", "--runtime", "onnxruntime")
    assert "red.png" in done.stderr and "Skipped: \N{REPLACEMENT CHARACTER}[2Jempty.png" in done.stderr
    assert "\x1b" not in done.stderr and "\nlines.png" not in done.stderr


def test_a_reason_of_several_lines_is_told_in_one(capsys: pytest.CaptureFixture[str]) -> None:
    """As numpy gives when it cannot be imported."""
    _say("Error: tensorrt cannot be imported (\n\nIMPORTANT: numpy\n  is broken). Install it.")
    assert capsys.readouterr().err == "Error: tensorrt cannot be imported ( IMPORTANT: numpy is broken). Install it.\n"


# The part of OpenCV that a camera needs: it gives ten frames, then none.
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
    (tmp_path / "clip.avi").touch()  # the frames come from the stand-in, not from this file
    command = [sys.executable, str(bundle.folder / "run.py"), "--seconds", "0", "--runtime", "onnxruntime", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "cameras")}
    source = str(tmp_path / source) if source == "clip.avi" else source
    done = subprocess.run([*command, "--camera", source], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("stopped after 10 frames. Check its cable" in done.stderr) is bool(code)
    if not code:
        assert "frames/s" in done.stderr  # even for a clip of less than a second; stdout is JSON alone
        assert json.loads(done.stdout)["failed"] == []


def test_the_distance_ahead_is_that_of_the_middle_of_the_frame(bundle: WrittenBundle, parts, tmp_path: Path) -> None:
    frame = np.linspace(0, 250, 80).astype(np.uint8)[None, :, None].repeat(60, 0).repeat(3, 2)
    frame[20:40] //= 2
    (tmp_path / "cameras").mkdir()
    np.save(tmp_path / "frame.npy", frame)
    shown = CAMERA_OF_TEN.replace("np.full((60, 80, 3), 90, np.uint8)", f"np.load({str(tmp_path / 'frame.npy')!r})")
    (tmp_path / "cameras" / "cv2.py").write_text(shown)
    (tmp_path / "clip.avi").touch()
    command = [sys.executable, str(bundle.folder / "run.py"), "--seconds", "0", "--runtime", "onnxruntime"]
    command += ["--precision", "fp32", "--camera", str(tmp_path / "clip.avi")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "cameras")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    depth = infer_model(onnx.load(parts[0]), SPEC.framing.image(frame)[None])[0]
    ahead = np.median(depth[12:19, 19:28])  # the middle fifth of 32 rows and of 48 columns
    assert f"{ahead:.2f} m ahead, nearest {depth.min():.2f} m" in done.stdout, (done.stdout, done.stderr)


def test_a_camera_gives_what_it_is_asked_for_until_ctrl_c_and_its_outcome_is_printed(parts, tmp_path: Path) -> None:
    bundle = write(parts, tmp_path / "small", camera=CAMERA)
    (tmp_path / "cameras").mkdir()
    endless = CAMERA_OF_TEN.replace("self.left >= 0", "self.size == [60, 80]")  # frames only at the requested size
    endless = endless.replace("self.left = 10", "self.left, self.size = 10, []")
    endless = endless.replace("        pass", "        self.size.append(what[1])", 1)
    endless = endless.replace("self.left -= 1", "self.left -= 1; self.left or __import__('signal').raise_signal(2)")
    (tmp_path / "cameras" / "cv2.py").write_text(endless)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "cameras")}
    command = [sys.executable, str(bundle.folder / "run.py"), "--seconds", "0", "--runtime", "onnxruntime", "--json"]
    done = subprocess.run(
        [*command, "--camera", "/dev/video2"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    camera = json.loads(done.stdout)["camera"]
    assert camera["source"] == "/dev/video2" and camera["frames"] == 9 and camera["frames_per_second"] > 0


def test_a_video_that_is_not_there_is_told_before_anything_is_built(bundle: WrittenBundle) -> None:
    done = run(bundle.folder, "--camera", "clip.mp4")
    assert done.returncode == 2 and done.stderr.splitlines() == [
        "Error: clip.mp4 not found. Check the path of the video, or pass a camera such as 0."
    ]


def test_an_opencv_that_does_not_load_says_why(bundle: WrittenBundle, tmp_path: Path) -> None:
    """As JetPack's does beside a numpy 2 installed by pip."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "cv2.py").write_text("raise ImportError('numpy.core.multiarray failed to import')")
    command = [sys.executable, str(bundle.folder / "run.py"), "--seconds", "0", "--runtime", "onnxruntime"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "broken")}
    done = subprocess.run([*command, "--camera", "0"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "fails to load (numpy.core.multiarray failed to import). pip install 'numpy<2'" in done.stderr


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
    assert "--camera 80x50" in done.stderr
    Image.fromarray(rgb[:1, :1]).save(tmp_path / "other.png")
    done = run(written.folder, "other.png", "--precision", "fp32", "--runtime", "onnxruntime")
    assert "not 1x1. Use frames of that size." in done.stderr  # edgekd bundle would refuse --camera 1x1


def message(picture: np.ndarray, encoding: str, padding: int = 0) -> SimpleNamespace:
    """The message of a camera node; its rows may be longer than the picture is wide."""
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
    assert isinstance(sent.data, array) and sent.data.typecode == "B"  # ROS checks other types byte by byte in Python
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
    with pytest.raises(UsageError, match="is not a camera size"):
        parse_size(text)
    assert parse_size("640x480") == (480, 640)
