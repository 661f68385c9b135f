"""Frames of a video file or a camera, as uint8 RGB, upright."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError
from edgekd.video.library import import_av, reason

__all__ = ["VIDEO_SUFFIXES", "Frames", "is_camera", "is_video", "open_frames", "sample_frames"]

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".mpeg", ".wmv", ".gif")

_CAMERA = "camera"
_DEVICES = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "video={}")}
_RATE = 30.0  # frames a second, where the file or camera does not say
_PLAUSIBLE = 240.0  # a faster rate is measured
_LONGEST = 3600.0  # seconds that a frame may be shown: MP4 cannot say 7 hours in ticks as fine as VideoWriter's
_LIST = {
    "linux": "List the cameras: ls /dev/video*",
    "darwin": "Use its number: camera:0",
    "win32": "Use its name: 'camera:Integrated Camera'",
}


def is_camera(source: str) -> bool:
    """Whether a source is a camera: `camera`, `camera:1`, `camera:/dev/video2`."""
    return source == _CAMERA or source.startswith(f"{_CAMERA}:")


def is_video(source: str) -> bool:
    """Whether a source is a video file, judged by its suffix."""
    return Path(source).suffix.lower() in VIDEO_SUFFIXES


@dataclass
class Frames:
    """An opened video or camera; a context manager. Iterate over it once: uint8 [height, width, 3] each.

    `expected` is roughly how many frames the file says it has and `length` how many seconds they take, None for a
    camera or where it does not say. While iterating, `at` is when a file's present frame is shown, in seconds since
    the first one. After iterating, `damage` says why a file's frames ended early, or is None.
    """

    name: str
    rate: float  # frames a second, as recorded
    expected: int | None
    length: float | None
    live: bool
    _container: Any
    at: float = field(default=0.0, init=False)
    damage: str | None = field(default=None, init=False)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        av, count = import_av(), 0
        first = end = last = None  # seconds
        try:
            for frame in self._container.decode(video=0):
                first = frame.time if count == 0 else first
                self.at += 0.0 if count == 0 else self._step(last, frame.time)
                last = frame.time
                end = None if frame.time is None else frame.time + self._shown(frame)
                yield _upright(np.asarray(frame.to_ndarray(format="rgb24")), getattr(frame, "rotation", 0))
                count += 1
        except av.error.FFmpegError as error:
            self.damage = reason(error)
        if self.damage is None and self._is_short(count, first, end):
            self.damage = "the file is shorter than it declares"
        if count == 0:
            raise DataError(
                f"{self.name} has no frames ({self.damage or 'it is empty'})",
                fix="Restore the file, or check the camera",
            )

    def _step(self, last: float | None, time: float | None) -> float:
        """Seconds from one frame to the next. Where recordings were joined, the clock may jump either way."""
        step = 0.0 if last is None or time is None else time - last
        return step if 0 < step <= _LONGEST else 1 / self.rate

    def _shown(self, frame: Any) -> float:
        """Seconds that a frame is shown: a GIF or a screen recording often holds its last one."""
        own = getattr(frame, "duration", None)
        return max(1 / self.rate, float(own * frame.time_base) if own and frame.time_base else 0.0)

    def _is_short(self, count: int, first: float | None, end: float | None) -> bool:
        """Judged by time where it is known: a file may count frames that were trimmed away, and a rate may change."""
        if self.length is not None and first is not None and end is not None:
            return end - first < 0.98 * self.length - 2 / self.rate
        return self.expected is not None and count < 0.98 * self.expected - 1

    def __enter__(self) -> Frames:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()


def open_frames(source: str) -> Frames:
    """Open a video file or a camera. Raises MissingRuntimeError without PyAV, DataError for what cannot be opened."""
    return _open_camera(source) if is_camera(source) else _open_file(Path(source))


def sample_frames(path: Path, count: int) -> list[NDArray[np.uint8]]:
    """Different frames spread over a video file, uint8 [H, W, 3]; the first ones where its duration is unknown."""
    found = _sought(path, count)
    if len(found) < count:  # seeking reaches key frames alone, of which a short video may have one
        found = _passed(path, count) or found
    return [_upright(np.asarray(frame.to_ndarray(format="rgb24")), getattr(frame, "rotation", 0)) for frame in found]


def _moments(frames: Frames, count: int) -> list[float]:
    """When the frames to be sampled are shown, in the file's own time, which need not begin at 0."""
    if not frames.length:
        return []
    begin = (frames._container.start_time or 0) / 1e6
    return [begin + frames.length * number / count for number in range(count)]


def _sought(path: Path, count: int) -> list[Any]:
    """The key frames before the moments, each once."""
    av = import_av()
    found: dict[float | None, Any] = {}
    with open_frames(str(path)) as frames:
        for moment in _moments(frames, count):
            with contextlib.suppress(av.error.FFmpegError, StopIteration):
                frames._container.seek(round(moment * 1e6))
                frame = next(frames._container.decode(video=0))
                found.setdefault(frame.time, frame)
    return list(found.values())


def _passed(path: Path, count: int) -> list[Any]:
    """The frames at the moments, found by decoding all before them."""
    av = import_av()
    found: list[Any] = []
    with open_frames(str(path)) as frames, contextlib.suppress(av.error.FFmpegError):
        moments = _moments(frames, count) or [float("-inf")] * count
        for frame in frames._container.decode(video=0):
            if frame.time is None or frame.time + 0.5 / frames.rate >= moments[len(found)]:
                found.append(frame)
            if len(found) == count:
                break
    return found


def _open_file(path: Path) -> Frames:
    if not path.is_file():
        raise DataError(f"Video {path} not found", fix="Check the path")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)", fix="Restore or remove the file")
    av = import_av()
    try:
        container = av.open(str(path.absolute()))  # FFmpeg takes what stands before a colon for a protocol: 12:30.mp4
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(
            f"{path} is not a readable video ({reason(error)})", fix="Restore the file, or save it as MP4"
        ) from error
    if not container.streams.video:
        container.close()
        raise DataError(f"{path} holds no pictures, only sound", fix="Pass a video")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    rate = float(stream.average_rate or 0)
    if not 0 < rate <= _PLAUSIBLE:
        rate = _rate_of_first(path) or rate or float(stream.guessed_rate or _RATE)
    length = _length(container, stream)
    expected = stream.frames or None
    if length is not None:
        expected = min(round(length * rate), expected or sys.maxsize)
    return Frames(str(path), rate, expected, length, live=False, _container=container)


def _rate_of_first(path: Path) -> float | None:
    """Frames a second of the first hundred. Videos that a browser records state the ticks of their clock: 1000."""
    av = import_av()
    times: list[float] = []
    with contextlib.suppress(av.error.FFmpegError), av.open(str(path.absolute())) as container:
        for packet in itertools.islice(container.demux(video=0), 100):
            if packet.pts is not None:
                times.append(float(packet.pts * packet.time_base))
    span = max(times) - min(times) if times else 0.0
    return (len(times) - 1) / span if span > 0 else None


def _length(container: Any, stream: Any) -> float | None:
    """Seconds of the pictures. Sound may last longer, so the whole file's duration counts alone only without sound."""
    lengths = []
    if stream.duration and stream.time_base:
        lengths.append(float(stream.duration * stream.time_base))
    with contextlib.suppress(ValueError):  # Matroska's, 00:00:04.004000000
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
        lengths.append(3600 * int(hours) + 60 * int(minutes) + float(seconds))
    if container.duration and (lengths or not container.streams.audio):
        lengths.append(container.duration / 1e6)
    length = min(lengths, default=None)
    if length is None or not container.format.name.startswith("matroska"):
        return length
    return max(0.0, length - (container.start_time or 0) / 1e6) or None  # Matroska's end, counted from 0


def _open_camera(source: str) -> Frames:
    _, _, which = source.partition(":")
    platform = sys.platform if sys.platform in _DEVICES else "linux"
    kind, pattern = _DEVICES[platform]
    device = which if "/" in which else pattern.format(which or "0")
    av = import_av()
    try:
        container = av.open(device, format=kind)
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(f"Camera {device} cannot be opened ({reason(error)})", fix=_LIST[platform]) from error
    stream = container.streams.video[0]
    return Frames(device, float(stream.average_rate or _RATE), None, None, live=True, _container=container)


def _upright(frame: NDArray[np.uint8], rotation: float) -> NDArray[np.uint8]:
    """Turned by the display matrix that phones write: quarter turns, counter-clockwise."""
    turns = round(rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(frame, turns)) if turns else frame
