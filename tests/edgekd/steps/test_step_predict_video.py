"""Depth of a video: what is written, the rate that is reported, and a video that ends early."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration.errors import DataError
from calibration.progress import Quiet
from edgekd.cli.app import run
from edgekd.run import Run
from edgekd.steps import predict_video as predict_video_module
from edgekd.steps.artefacts import choose_artefact
from edgekd.steps.predict_video import VideoPrediction, VideoSettings, predict_video
from edgekd.video import Frames, VideoWriter
from targets.base import RunnerOptions

av = pytest.importorskip("av", reason="videos need PyAV")


@pytest.fixture
def clip(exported_run: Path) -> Path:
    from small_network import pictures as made

    with VideoWriter(Path("clip.mp4"), 20) as writer:
        picture = made(1, 3, 120, 200)[0]
        for step in range(12):
            writer.add(np.roll(picture, 2 * step, axis=1))
    return Path("clip.mp4")


def predict(source: str, **settings: object) -> VideoPrediction:
    artefact = choose_artefact(Run.open(Path("runs/small")), "onnxruntime-fp32")
    chosen = VideoSettings(**settings)  # type: ignore[arg-type]
    return predict_video(artefact, source, Path("out"), RunnerOptions(), chosen, Quiet())


def test_a_video_becomes_picture_and_depth_side_by_side(clip: Path) -> None:
    done = predict("clip.mp4", frames=True, values=True)
    assert (done.frames, done.video) == (12, Path("out/clip.depth.mp4"))
    assert done.rate > 0 and 0 < done.infer < 1000 and 0 < done.low < done.high
    with av.open(str(done.video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert float(container.streams.video[0].average_rate) == 20
    assert len(frames) == 12 and frames[0].shape == (120 + 22, 2 * 200 + 64, 3)
    with av.open("clip.mp4") as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(frames[0][22:, :200].astype(int) - first).mean() < 6  # the left panel is the picture
    metres = np.load("out/clip/000007.depth.npy")
    with Image.open("out/clip/000007.depth.png") as stored:
        np.testing.assert_allclose(np.asarray(stored), metres * 1000, atol=0.5001)
    assert metres.shape == (120, 200)


def test_a_video_of_variable_rate_keeps_the_times_of_its_frames(exported_run: Path) -> None:
    """Phones take fewer frames in the dark, and a screen recording stores a frame only where something moved."""
    times = [0, 0.1, 0.2, 5, 5.1, 12, 12.03]
    with VideoWriter(Path("clip.mp4"), 20) as writer:
        for number, at in enumerate(times):
            writer.add(np.full((120, 200, 3), 30 * number, np.uint8), at)
    done = predict("clip.mp4")
    with av.open(str(done.video)) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx(times, abs=1e-3)


def test_frames_of_a_longer_video_do_not_pass_for_the_end_of_a_shorter_one(clip: Path) -> None:
    for name in ("000012.depth.png", "000013.depth.png", "notes.txt"):
        path = Path("out/clip") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("of a video before")
    predict("clip.mp4", frames=True)
    assert sorted(path.name for path in Path("out/clip").iterdir())[-3:] == [
        "000011.depth.png", "000012.depth.png", "notes.txt",
    ]  # fmt: skip


def test_what_a_killed_command_left_half_written_goes_with_the_next(clip: Path) -> None:
    for name in ("out/.clip.depth.mp4.abcdefgh.part", "out/clip/.000003.depth.png.abcdefgh.part"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
        os.utime(name, (1e9, 1e9))
    predict("clip.mp4", frames=True)
    assert not list(Path("out").rglob(".*.part"))


def test_metres_of_an_earlier_command_do_not_stay_beside_new_depth(clip: Path) -> None:
    predict("clip.mp4", frames=True, values=True)
    predict("clip.mp4", frames=True)
    assert {path.suffix for path in Path("out/clip").iterdir()} == {".png"}


def test_a_video_that_ends_early_keeps_what_was_read_and_fails(clip: Path) -> None:
    with av.open("clip.mp4") as whole, av.open("long.mp4", "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=20, options={"g": "4"})
        stream.width, stream.height, stream.pix_fmt = 200, 120, "yuv420p"
        for frame in whole.decode(video=0):
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    data = Path("long.mp4").read_bytes()
    Path("long.mp4").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(DataError, match=r"long\.mp4 ends early .*of 12 frames could be read"):
        predict("long.mp4")
    assert Path("out/long.depth.mp4").stat().st_size > 1000


@pytest.fixture
def camera(exported_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's test picture at full speed, in place of a camera, which no machine of this project has."""

    def picture(source: str) -> Frames:
        container = av.open("testsrc=size=96x64:rate=30", format="lavfi")
        return Frames("/dev/video0", 30.0, None, None, live=True, _container=container)

    monkeypatch.setattr("edgekd.steps.predict_video.open_frames", picture)


def test_a_camera_is_recorded_for_the_seconds_asked(camera: None) -> None:
    done = predict("camera", seconds=0.3)
    assert done.frames > 3 and done.video == Path("out/dev-video0.depth.mp4")


def slowed(monkeypatch: pytest.MonkeyPatch, during: Callable[[int], None]) -> None:
    """Makes each inference 50 ms slower and calls `during` in it."""
    calls = itertools.count(-12)  # the first twelve frames decide the range of the colours
    infer = predict_video_module.infer_picture

    def slow(runner: object, rgb: np.ndarray) -> np.ndarray:
        time.sleep(0.05)
        during(next(calls))
        return infer(runner, rgb)  # type: ignore[arg-type]

    monkeypatch.setattr(predict_video_module, "infer_picture", slow)


def test_what_a_camera_saw_is_shown_at_the_pace_at_which_it_was_seen(
    camera: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch, lambda number: None)
    done = predict("camera", seconds=1.0)
    with av.open(str(done.video)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert len(times) == done.frames < 22
    assert 0.8 < times[-1] - times[0] < 2.0  # at the source's 30 frames a second they would last 0.7 s


def test_ctrl_c_keeps_what_a_camera_saw_whatever_it_interrupts(camera: None, monkeypatch: pytest.MonkeyPatch) -> None:
    slowed(monkeypatch, lambda number: signal.raise_signal(signal.SIGINT) if number == 4 else None)
    done = predict("camera")
    assert done.frames == 5 and done.video.stat().st_size > 1000


def test_the_verb_takes_videos_and_names_a_camera_that_is_not_there(
    clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", "small", "clip.mp4", "--out", "seen", "--colours", "sea"]) == 0
    out, _ = capsys.readouterr()
    assert "clip.depth.mp4" in out and "frames/s" in out
    assert run(["predict", "small", "camera:97"]) == 1
    assert "Camera /dev/video97 cannot be opened" in capsys.readouterr().err.splitlines()[-1]
    assert run(["predict", "small", "clip.mp4", "--colours", "see"]) == 2
    assert "Did you mean sea?" in capsys.readouterr().err
