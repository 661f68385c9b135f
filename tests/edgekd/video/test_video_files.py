"""Videos as users have them: whole, cut, empty, turned by a phone, no video at all; and what is written."""

from __future__ import annotations

import struct
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_network import pictures

from calibration.errors import DataError, MissingRuntimeError, UsageError
from edgekd.video import VideoWriter, is_camera, is_video, open_frames, sample_frames
from edgekd.video.source import _upright

av = pytest.importorskip("av", reason="videos need PyAV")


def write(
    path: Path, count: int = 20, *, options: dict[str, str] | None = None, group: int = 5, begin: int = 0
) -> Path:
    """Writes frames of one grey each, every one brighter than the last, with PyAV alone: a key frame every `group`, the
    first frame at `begin` seconds."""
    with av.open(str(path), "w", options=options or {}) as container:
        jumps = {"sc_threshold": "1000000000"} if group > 5 else {}  # no further key frame where the grey jumps
        stream = container.add_stream("mpeg4", rate=25, options={"g": str(group), **jumps})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(count):
            grey = np.full((48, 64, 3), (20 + 10 * number) % 250, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = 25 * begin + number, Fraction(1, 25)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def test_frames_come_in_order_with_their_rate(tmp_path: Path) -> None:
    with open_frames(str(write(tmp_path / "a.mp4"))) as frames:
        means = [frame.mean() for frame in frames]
        assert frames.rate == 25 and frames.expected == 20 and frames.damage is None and not frames.live
    np.testing.assert_allclose(means, 20 + 10 * np.arange(20), atol=4)


def test_samples_are_spread(tmp_path: Path) -> None:
    means = [frame.mean() for frame in sample_frames(write(tmp_path / "a.mp4"), 4)]
    assert len(means) == 4 and means == sorted(means) and means[-1] > means[0] + 80


@pytest.mark.parametrize(("name", "group", "begin"), [("a.mp4", 250, 0), ("a.ts", 5, 3600), ("a.mkv", 250, 3600)])
def test_samples_are_spread_whatever_the_key_frames_and_the_begin(
    tmp_path: Path, name: str, group: int, begin: int
) -> None:
    """x264 sets a key frame every 250 by default, and a recorder's clock runs for hours."""
    path = write(tmp_path / name, group=group, begin=begin)
    means = [frame.mean() for frame in sample_frames(path, 5)]
    np.testing.assert_allclose(means, 20 + 10 * np.array([0, 4, 8, 12, 16]), atol=14)
    with open_frames(str(path)) as frames:
        assert sum(1 for _ in frames) == 20 and frames.damage is None


def test_a_last_frame_that_is_held_is_no_damage(tmp_path: Path) -> None:
    pictures = [Image.new("L", (64, 48), 10 * number) for number in range(20)]
    path = tmp_path / "a.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[50] * 19 + [3000])
    with open_frames(str(path)) as frames:
        assert sum(1 for _ in frames) == 20 and frames.damage is None


@pytest.mark.parametrize("options", [{}, {"live": "1"}])
def test_a_video_that_a_browser_recorded_has_the_rate_of_its_frames(tmp_path: Path, options: dict[str, str]) -> None:
    """It states no rate, and FFmpeg takes the ticks of its clock for one: 1000."""
    with av.open(str(tmp_path / "a.webm"), "w", options=options) as container:
        stream = container.add_stream("libvpx", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.framerate = Fraction(0, 1)
        times = np.cumsum(np.random.default_rng(0).integers(25, 42, 150))
        for number, time in enumerate(times.tolist()):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    with open_frames(str(tmp_path / "a.webm")) as frames:
        assert frames.rate == pytest.approx(30, abs=1) and sum(1 for _ in frames) == 150 and frames.damage is None
        assert frames.expected is None or abs(frames.expected - 150) <= 3


def test_a_name_with_a_colon_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.mp4").rename("2026-11-30T12:30:05.mp4")
    with open_frames("2026-11-30T12:30:05.mp4") as frames:
        assert sum(1 for _ in frames) == 20


def test_a_video_that_ends_early_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 60, options={"movflags": "faststart"})  # puts the index before the pictures
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with open_frames(str(path)) as frames:
        count = sum(1 for _ in frames)
    assert 5 < count < 60 and frames.expected == 60
    assert frames.damage


def test_a_trimmed_video_is_whole(tmp_path: Path) -> None:
    """Phones and `-c copy` trim by an edit list: the file counts frames before the cut that no player shows."""
    whole = write(tmp_path / "a.mp4", 60)
    with av.open(str(whole)) as source, av.open(str(tmp_path / "b.mp4"), "w") as cut:
        stream = cut.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                shift = round(
                    0.92 / packet.time_base
                )  # into the middle of a group of pictures, whose first ones are hidden
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                if packet.dts >= -round(0.13 / packet.time_base):
                    cut.mux(packet)
    with av.open(str(tmp_path / "b.mp4")) as file:
        counted = file.streams.video[0].frames
    with open_frames(str(tmp_path / "b.mp4")) as frames:
        shown = sum(1 for _ in frames)
    assert shown < counted and frames.damage is None
    assert frames.expected is not None and abs(frames.expected - shown) <= 1


@pytest.mark.parametrize(("cut", "damaged"), [(1.0, False), (0.5, True)])
def test_a_matroska_that_ends_early_is_told_by_its_time(tmp_path: Path, cut: float, damaged: bool) -> None:
    path = write(tmp_path / "a.mkv", 80)
    path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])
    with open_frames(str(path)) as frames:
        count = sum(1 for _ in frames)
    assert (frames.damage is not None) is damaged and (count < 80) is damaged


def test_a_video_without_a_frame_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="without frames"), VideoWriter(tmp_path / "a.mp4", 25):
        pass
    with pytest.raises(DataError, match="1x1"), VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.add(np.zeros((1, 1, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("content", "said"), [(b"", "0 bytes"), (b"no video at all" * 50, "not a readable video")])
def test_what_is_no_video(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        open_frames(str(path))


def test_a_video_whose_index_is_lost(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moov")])
    with pytest.raises(DataError, match=r"a\.mp4"), open_frames(str(path)) as frames:
        list(frames)


def test_a_video_of_which_no_picture_can_be_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4")
    content = bytearray(path.read_bytes())
    begin, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    content[begin:end] = bytes(end - begin)
    path.write_bytes(content)
    assert sample_frames(path, 3) == []
    with pytest.raises(DataError, match=r"a\.mp4 has no frames \(Invalid data"), open_frames(str(path)) as frames:
        list(frames)


def test_sound_that_lasts_longer_than_the_pictures_is_no_damage(tmp_path: Path) -> None:
    """Phones stop the sound a little later; a slide show's sound goes on."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream, sound = container.add_stream("mpeg4", rate=25), container.add_stream("aac", rate=8000)
        stream.width, stream.height, stream.pix_fmt, sound.layout = 64, 48, "yuv420p", "mono"
        for number in range(20):
            grey = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(grey))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 3 * 8000), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        for packets in (stream.encode(), sound.encode(silence), sound.encode()):
            container.mux(packets)
    with av.open(str(path)) as whole:
        assert whole.duration > 2_500_000
    with open_frames(str(path)) as frames:
        assert sum(1 for _ in frames) == 20 and frames.damage is None and frames.expected == 20
    means = [frame.mean() for frame in sample_frames(path, 4)]
    np.testing.assert_allclose(means, 10 * np.array([0, 5, 10, 15]), atol=14)


def test_sound_alone_and_nothing_there(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        for packet in [*stream.encode(sound), *stream.encode()]:
            container.mux(packet)
    with pytest.raises(DataError, match="only sound"):
        open_frames(str(tmp_path / "a.wav"))
    with pytest.raises(DataError, match=r"Video .* not found"):
        open_frames(str(tmp_path / "b.mp4"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="cameras have other names elsewhere")
def test_a_camera_that_is_not_there_is_one_line() -> None:
    for which in ("camera:97", "camera:/dev/video97"):
        with pytest.raises(DataError, match=r"Camera /dev/video97 cannot be opened \(No such file") as raised:
            open_frames(which)
    assert "ls /dev/video*" in raised.value.fix


def test_what_is_meant() -> None:
    assert is_camera("camera") and is_camera("camera:/dev/video2") and not is_camera("camera.png")
    assert is_video("a/b.MP4") and not is_video("a/b.png") and not is_video("folder")


def test_a_phones_video_is_turned_upright() -> None:
    """A display matrix of 90 degrees turns the frame counter-clockwise: its right edge becomes the top."""
    frame = np.zeros((4, 6, 3), np.uint8)
    frame[:, -1] = 255
    turned = _upright(frame, 90)
    assert turned.shape == (6, 4, 3) and turned[0].min() == 255 and turned[1:].max() == 0
    assert _upright(frame, 0) is frame


def test_a_file_that_states_how_the_phone_was_held_is_turned(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32] = 255
    with VideoWriter(path, 25) as writer:
        for _ in range(3):
            writer.add(picture)
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 44
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)  # clockwise
    path.write_bytes(content)
    with open_frames(str(path)) as frames:
        turned = next(iter(frames))
    for upright in (turned, *sample_frames(path, 2)):
        assert upright.shape == (64, 48, 3) and upright[:28].min() > 200 and upright[36:].max() < 50


def test_a_pyav_that_does_not_say_how_a_video_is_turned_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.mp4")
    monkeypatch.setattr(av, "__version__", "14.0.1")
    with pytest.raises(MissingRuntimeError, match=r"PyAV 15 or newer; 14\.0\.1 is installed\. .*av>=15"):
        open_frames(str(path))


def test_without_pyav_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingRuntimeError, match=r"edgekd\[video\]"):
        open_frames(str(path))


def test_what_is_written_is_h264_of_even_size_and_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "out" / "b.mp4"
    with VideoWriter(path, 30) as writer:
        for number in range(10):
            writer.add(np.full((49, 65, 3), 20 * number, np.uint8))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, float(stream.average_rate)) == (64, 48, 30)
        assert stream.codec_context.name == "h264"
        assert sum(1 for _ in container.decode(video=0)) == 10
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "c.mp4", 30) as writer:
        writer.add(np.zeros((48, 64, 3), np.uint8))
        raise RuntimeError("stopped")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out"]
    with pytest.raises(UsageError, match=r"\.avi"):
        VideoWriter(tmp_path / "c.avi", 30)


def test_the_rate_of_television_and_the_picture_are_kept(tmp_path: Path) -> None:
    picture = pictures(1, 3, 240, 400)[0]
    with VideoWriter(tmp_path / "a.mp4", 30_000 / 1001) as writer:
        for step in range(6):
            writer.add(np.roll(picture, 3 * step, axis=1))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].average_rate == Fraction(30_000, 1001)
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    for step, frame in enumerate(frames):
        assert np.abs(frame - np.roll(picture, 3 * step, axis=1)).mean() < 2


def test_a_time_lapse_takes_as_long_as_its_source(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 0.2) as writer:
        for number in range(4):
            writer.add(np.full((48, 64, 3), 20 * number, np.uint8))
    with open_frames(str(tmp_path / "a.mp4")) as frames:
        assert frames.rate == pytest.approx(0.2) and frames.length == pytest.approx(20, abs=0.1)


def test_frames_with_times_of_their_own_keep_them_and_the_file_lasts_as_long(tmp_path: Path) -> None:
    times = [0, 0.1, 0.2, 5, 5.1, 12, 12.03]
    with VideoWriter(tmp_path / "a.mp4", 30) as writer:
        for number, time in enumerate(times):
            writer.add(np.full((48, 64, 3), 20 * number, np.uint8), time)
    with open_frames(str(tmp_path / "a.mp4")) as frames:
        assert [frames.at for _ in frames] == pytest.approx(times, abs=1e-3)
        assert frames.length is not None and 12.03 < frames.length < 15  # what a player shows of it


def test_a_clock_that_jumps_by_hours_is_that_of_another_recording(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        for number, time in enumerate([0, 0.04, 20_000, 20_000.04]):
            writer.add(np.full((48, 64, 3), 20 * number, np.uint8), time)
    with open_frames(str(tmp_path / "a.mp4")) as frames:
        times = [frames.at for _ in frames]
        assert times == pytest.approx([0, 0.04, 0.04 + 1 / frames.rate, 0.08 + 1 / frames.rate], abs=1e-3)


def test_the_clock_of_joined_recordings_goes_on(tmp_path: Path) -> None:
    """cat a.mpg a.mpg: the second begins its clock again."""
    with av.open(str(tmp_path / "a.mpg"), "w", format="mpeg") as container:
        stream = container.add_stream("mpeg1video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            grey = np.full((48, 64, 3), 20 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    once = (tmp_path / "a.mpg").read_bytes()
    (tmp_path / "a.mpg").write_bytes(once + once)
    with open_frames(str(tmp_path / "a.mpg")) as frames:
        assert [frames.at for _ in frames] == pytest.approx(np.arange(20) / 25, abs=1e-3)
