"""Frames of a camera through OpenCV, which JetPack includes; CSI cameras need a GStreamer pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Iterator

import numpy as np

from targets.board.errors import BoardError, InputError, MissingError
from targets.board.opencv import import_opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["frames", "is_live", "require_source"]

_VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv")


def frames(source: str, size: tuple[int, int] | None) -> Iterator[NDArray[np.uint8]]:
    """Frames RGB uint8 [H, W, 3] of a camera, video file or GStreamer pipeline; a camera is asked for `size`.

    Raises MissingError without OpenCV, InputError when no frame comes, BoardError when a camera stops; a file may end.
    """
    cv2 = import_opencv()
    if cv2 is None:
        raise MissingError("A camera needs OpenCV", "sudo apt install python3-opencv, or pip install opencv-python")
    if source.isdecimal() or source.startswith("/dev/"):
        capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
        if size is not None:
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[0])
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[1])
    else:
        capture = cv2.VideoCapture(source, cv2.CAP_GSTREAMER if " ! " in source else cv2.CAP_ANY)
    try:
        came = 0
        while True:
            good, bgr = capture.read()
            if not good:
                break
            came += 1
            yield np.ascontiguousarray(bgr[..., ::-1])
        if not came:
            raise InputError(f"No frame came from {source}", "List the cameras with: v4l2-ctl --list-devices")
        if is_live(source):
            count = "1 frame" if came == 1 else f"{came} frames"
            raise BoardError(f"The camera {source} stopped after {count}", "Check its cable and try again")
    finally:
        capture.release()


def require_source(source: str) -> None:
    """Raise InputError for a video file that is not there or cannot be reached, before minutes of building."""
    if is_live(source) or " ! " in source or "://" in source:
        return
    try:
        Path(source).stat()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        message = f"{source} not found" if missing else f"Cannot read {source} ({error.strerror})"
        raise InputError(message, "Check the path of the video, or pass a camera such as 0") from error


def is_live(source: str) -> bool:
    """Whether the source is a camera's number or device, a network stream, or a pipeline that does not read a file.

    Over http(s), a name with a video's extension is a file, and any other is a camera.
    """
    if " ! " in source:
        return "filesrc" not in source and "file:" not in source
    if "://" in source:
        scheme, _, rest = source.lower().partition("://")
        return not (scheme == "file" or (scheme in ("http", "https") and rest.split("?")[0].endswith(_VIDEOS)))
    return source.isdecimal() or source.startswith("/dev/")
