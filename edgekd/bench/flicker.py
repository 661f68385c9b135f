"""How much depth flickers over a clip, and how much of that quantisation adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calibration.errors import DataError

__all__ = ["Flicker", "measure_flicker", "panned_clip"]

_NEAREST = 0.01  # metres; depth below counts as this
_STILL_PICTURES = 3
_FRAMES_EACH = 16


@dataclass(frozen=True)
class Flicker:
    """Shares of depth, means over pixels and frames."""

    frames: int
    jitter: float  # |l(t-1) - 2 l(t) + l(t+1)| / 2 of log depth l: changes that reverse; even motion adds none
    added: float | None  # |e(t) - e(t-1)|, e the difference of log depth from fp32's on the same frames; motion cancels


def measure_flicker(clips: Sequence[NDArray[np.float32]], reference: Sequence[NDArray[np.float32]] | None) -> Flicker:
    """Flicker of depth over clips, each float32 [T, H, W] in metres with T of 3 or more.

    `reference` are the depths of the fp32 artefact on the same frames. Raises DataError for shorter clips, another
    shape, or depth that is not finite.
    """
    if not clips or any(len(clip) < 3 for clip in clips):
        raise DataError("Flicker needs clips of three frames or more", fix="Pass a longer video, or more pictures")
    if not all(np.isfinite(clip).all() for clip in clips):
        raise DataError(
            "The depth of a clip is NaN or infinite on some pixels", fix="Inspect it with edgekd predict, or use fp32"
        )
    logs = [np.log(np.maximum(clip, _NEAREST)) for clip in clips]
    jitter = _mean([np.abs(log[:-2] - 2 * log[1:-1] + log[2:]) / 2 for log in logs])
    added = None
    if reference is not None:
        if [clip.shape for clip in clips] != [clip.shape for clip in reference]:
            raise DataError("Flicker can only be compared on the same frames", fix="Run both on the same clip")
        errors = [log - np.log(np.maximum(other, _NEAREST)) for log, other in zip(logs, reference, strict=True)]
        added = _mean([np.abs(np.diff(error, axis=0)) for error in errors])
    return Flicker(sum(map(len, clips)), jitter, added)


def panned_clip(pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Clips made of still pictures uint8 [H, W, 3]: a window of three quarters glides over each, one clip per picture.

    They stand in for a video: the motion is even and known, the pictures are what the network will see. Each is uint8
    [T, H, W, 3].
    """
    clips = []
    for picture in pictures[:_STILL_PICTURES]:
        height, width = picture.shape[:2]
        frames = []
        for step in np.linspace(0, 1, _FRAMES_EACH).tolist():
            left, top = step * width / 4, step * height / 8
            box = (left, top, left + 0.75 * width, top + 0.75 * height)
            image = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR, box=box)
            frames.append(np.asarray(image))
        clips.append(np.stack(frames))
    return clips


def _mean(parts: Sequence[NDArray[np.floating]]) -> float:
    return float(np.mean(np.concatenate([part.ravel() for part in parts])))
