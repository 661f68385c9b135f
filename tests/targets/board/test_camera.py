"""Which sources are live: a file may end, a camera may not."""

from __future__ import annotations

import pytest

from targets.board.camera import is_live, require_source
from targets.board.errors import InputError


@pytest.mark.parametrize(
    ("source", "live"),
    [
        ("0", True),
        ("/dev/video1", True),
        ("clip.mp4", False),
        ("file:///data/clip.mp4", False),
        ("http://server/clip.mp4", False),
        ("https://server/Clip.MP4?token=1", False),
        ("http://camera/video.mjpg", True),
        ("http://camera:8080/", True),
        ("rtsp://camera/clip.mp4", True),
        ("udp://0.0.0.0:5000", True),
        ("nvarguscamerasrc ! appsink", True),
        ("filesrc location=clip.mp4 ! decodebin ! appsink", False),
        ("uridecodebin uri=file:///data/clip.mp4 ! appsink", False),
    ],
)
def test_files_end_and_cameras_do_not(source: str, live: bool) -> None:
    assert is_live(source) is live


@pytest.mark.parametrize(
    ("source", "says"), [("none.mp4", "none.mp4 not found"), ("n" * 300, "Cannot read n+ .File name too long.")]
)
def test_a_video_that_cannot_be_reached_is_named(source: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        require_source(source)
