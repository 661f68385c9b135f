"""Videos and cameras: their frames in, side-by-side videos out. See README.md."""

from __future__ import annotations

from edgekd.video.scene import SideBySide
from edgekd.video.source import Frames, is_camera, is_video, open_frames, sample_frames
from edgekd.video.writing import VideoWriter

__all__ = ["Frames", "SideBySide", "VideoWriter", "is_camera", "is_video", "open_frames", "sample_frames"]
