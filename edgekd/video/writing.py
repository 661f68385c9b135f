"""Writing a video: H.264 in MP4, which browsers and phones play; whole or not at all."""

from __future__ import annotations

import errno
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError, DiskFullError, FileError, UsageError
from calibration.files import replacing
from calibration.reasons import make_room
from edgekd.video.library import import_av, reason

__all__ = ["VideoWriter"]

_CODECS = ("libx264", "mpeg4")  # builds of FFmpeg without x264 write MPEG-4
_SLOWEST = 0.01  # frames a second, of a time-lapse
_TICK = Fraction(1, 90_000)  # seconds, for frames with times of their own; 25, 30 and 29.97 a second are whole ticks
_OPTIONS = {"libx264": {"preset": "veryfast", "crf": "20"}, "mpeg4": {"qscale": "3"}}


class VideoWriter:
    """A context manager: `add` frames of one size; the file exists once the block ends without an error.

    Raises UsageError for another suffix than .mp4, MissingRuntimeError without PyAV, FileError or DiskFullError.
    """

    def __init__(self, path: Path, rate: float) -> None:
        if path.suffix.lower() != ".mp4":
            raise UsageError(f"A video cannot be saved as {path.suffix or path.name!r}", fix="Choose .mp4")
        self._av = import_av()
        self._path, self._rate = path, Fraction(max(rate, _SLOWEST)).limit_denominator(1001)
        self._file: AbstractContextManager[Path] = replacing(path)
        self._container: Any = None
        self._stream: Any = None
        self._last = -1  # when the last frame is shown, in ticks

    def __enter__(self) -> VideoWriter:
        self._container = self._av.open(str(self._file.__enter__()), "w", format="mp4")
        return self

    def add(self, frame: NDArray[np.uint8], at: float | None = None) -> None:
        """Add a frame uint8 [H, W, 3]; an odd last row or column is left out, as the codec needs even sizes.

        It is shown from `at` on, in seconds since the first frame; by default at the rate. All frames have it or none.
        """
        even = np.ascontiguousarray(frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2])
        if even.size == 0:
            raise DataError(
                f"A frame of {frame.shape[1]}x{frame.shape[0]} is too small for a video", fix="Use 2x2 or more"
            )
        if self._stream is None:
            self._stream = self._open_stream(even.shape[0], even.shape[1], timed=at is not None)
        made = self._av.VideoFrame.from_ndarray(even, format="rgb24")
        if at is not None:
            self._last = max(self._last + 1, round(at / _TICK))
            made.pts, made.time_base = self._last, _TICK
        self._write(made)

    def _open_stream(self, height: int, width: int, *, timed: bool) -> Any:
        codec = next(codec for codec in _CODECS if codec in self._av.codecs_available)
        # With times of their own, frames stored out of order (B) would make the file state too short a duration.
        options = {**_OPTIONS[codec], **({"bf": "0"} if timed else {})}
        stream = self._container.add_stream(codec, rate=self._rate, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        if timed:
            stream.codec_context.time_base = _TICK
        return stream

    def _write(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except self._av.error.FFmpegError as error:
            if error.errno == errno.EFBIG:
                raise DiskFullError(
                    f"The file size limit was reached while writing {self._path}", fix=make_room(error.errno)
                ) from error
            if "space" in reason(error).lower():
                raise DiskFullError(
                    f"The disk is full while writing {self._path}", fix=make_room(error.errno)
                ) from error
            raise FileError(f"Cannot write {self._path}: {reason(error)}", fix="Choose another folder") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._stream is None:
                raise DataError(f"{self._path} would be a video without frames", fix="Add frames")
            if kind is None:
                self._write(None)
            self._container.close()
        except BaseException as failure:
            self._file.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._file.__exit__(kind, error, trace)
