"""Predicts depth for a video or a camera: one video with picture and depth side by side, and the speed."""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError, UsageError
from calibration.files import remove_abandoned
from calibration.progress import Progress
from calibration.wording import counted
from edgekd.interrupt import deferred_interrupt
from edgekd.pictures import depth_range, save_depth
from edgekd.pictures.colour import DEFAULT_COLOURS
from edgekd.steps.predict import infer_picture
from edgekd.video import Frames, SideBySide, VideoWriter, open_frames, sample_frames
from targets import get_target
from targets.base import Artefact, Runner, RunnerOptions

__all__ = ["VideoPrediction", "VideoSettings", "predict_video"]

_JUDGED = 12  # frames that decide the range of the colour scale
_RECENT = 30  # frames over which the frame rate is averaged


@dataclass(frozen=True)
class VideoSettings:
    """`seconds` limits the recording of a camera; `frames` keeps every frame's depth as PNG, `values` as NPY too."""

    seconds: float | None = None
    frames: bool = False
    values: bool = False
    colours: str = DEFAULT_COLOURS

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise UsageError(f"{self.seconds} seconds cannot be recorded", fix="Use a positive number")


@dataclass(frozen=True)
class VideoPrediction:
    """The outputs for a video."""

    source: str
    video: Path
    depth: Path | None  # the folder with each frame's depth
    frames: int
    rate: float  # frames per second, from reading to writing
    infer: float  # median milliseconds per inference
    low: float  # metres at the ends of the colour scale
    high: float


def predict_video(
    artefact: Artefact, source: str, out: Path, options: RunnerOptions, settings: VideoSettings, progress: Progress
) -> VideoPrediction:
    """Write <name>.depth.mp4 of a video file or of `camera[:WHICH]`.

    For a file that ends early, the video of the frames up to there is written before DataError is raised. A camera is
    recorded until Ctrl-C or for `settings.seconds`. Raises DataError, ArtefactError, FileError, DiskFullError or
    MissingRuntimeError.
    """
    with open_frames(source) as frames, get_target(artefact.target).open(artefact, options) as runner:
        name = re.sub(r"[^\w.-]+", "-", frames.name).strip("-") if frames.live else Path(source).stem
        shown = iter(frames)
        judged = list(itertools.islice(shown, _JUDGED)) if frames.live else sample_frames(Path(source), _JUDGED)
        low, high = depth_range([infer_picture(runner, rgb) for rgb in judged])
        if frames.live:
            # Its frames are lost meanwhile: the recording begins now, with the last judged frame.
            shown = itertools.chain(judged[-1:], shown)
        # The time is when a camera's picture arrived, and when a file's is to be shown, in seconds.
        pictures = ((time.perf_counter() if frames.live else frames.at, rgb) for rgb in shown)
        work = _Work(runner, frames, SideBySide(low, high, settings.colours), settings, out / name)
        done = work.run(pictures, progress)
    if frames.damage is not None:
        read = f"{done.frames} of {frames.expected} frames" if frames.expected else counted(done.frames, "frame")
        raise DataError(
            f"{source} ends early ({frames.damage}): {read} could be read; the depth is in {done.video}",
            fix="Restore the file, or trim it before the damage",
        )
    return done


@dataclass(frozen=True)
class _Work:
    runner: Runner
    frames: Frames
    scene: SideBySide
    settings: VideoSettings
    stem: Path

    def run(self, pictures: Iterable[tuple[float, NDArray[np.uint8]]], progress: Progress) -> VideoPrediction:
        video = self.stem.with_name(f"{self.stem.name}.depth.mp4")
        folder = self.stem if self.settings.frames or self.settings.values else None
        remove_abandoned(video.parent, [video.name])
        infers: list[float] = []
        begun = time.perf_counter()
        ends: deque[float] = deque([begun], maxlen=_RECENT)
        total = None if self.frames.live else self.frames.expected
        with VideoWriter(video, self.frames.rate) as writer, progress.task("Predicting", total) as advance:
            first = None
            for seen, rgb in self._until_the_end(pictures, progress):
                first = seen if first is None else first
                start = time.perf_counter()
                depth = infer_picture(self.runner, rgb)
                infers.append(time.perf_counter() - start)
                pace = (len(ends) - 1) / (ends[-1] - ends[0]) if len(ends) > 1 else 0.0
                caption = f"{self.runner.artefact.name}   {1000 * infers[-1]:.1f} ms per frame   {pace:.1f} frames/s"
                # A phone's or a screen's recording has no constant rate, and a camera's frames are lost meanwhile.
                writer.add(self.scene.draw(rgb, depth, caption), seen - first)
                if folder is not None:
                    self._keep(folder, len(infers), depth)
                ends.append(time.perf_counter())
                advance(1)
        if folder is not None:
            _remove_beyond(folder, len(infers))
        rate = len(infers) / (time.perf_counter() - begun)
        middle = 1000 * float(np.median(infers))
        return VideoPrediction(
            self.frames.name, video, folder, len(infers), rate, middle, self.scene.low, self.scene.high
        )

    def _until_the_end(
        self, pictures: Iterable[tuple[float, NDArray[np.uint8]]], progress: Progress
    ) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        """End a camera's recording after the requested seconds, or on Ctrl-C, which keeps what was recorded.

        A second Ctrl-C interrupts at once, for a camera that no longer delivers frames.
        """
        with deferred_interrupt() if self.frames.live else contextlib.nullcontext(lambda: False) as interrupted:
            try:
                first = None
                for seen, rgb in pictures:
                    first = seen if first is None else first
                    if self.settings.seconds is not None and seen - first > self.settings.seconds:
                        return
                    yield seen, rgb
                    if interrupted():
                        raise KeyboardInterrupt
            except KeyboardInterrupt:
                if not self.frames.live:
                    raise
                progress.note("Stopped by Ctrl-C; what was recorded is kept")

    def _keep(self, folder: Path, number: int, depth: NDArray[np.float32]) -> None:
        save_depth(folder / f"{number:06d}.depth.png", depth)
        metres = folder / f"{number:06d}.depth.npy"
        if self.settings.values:
            save_depth(metres, depth)
        else:
            metres.unlink(missing_ok=True)  # left by an earlier command, perhaps with another model


def _remove_beyond(folder: Path, count: int) -> None:
    """Remove frames of an earlier, longer video, which would pass for the end of this one, and half-written ones."""
    frames = range(1, count + 1)
    remove_abandoned(folder, (f"{number:06d}.depth.{kind}" for number in frames for kind in ("png", "npy")))
    for path in folder.iterdir():
        found = re.fullmatch(r"(\d{6,})\.depth\.(png|npy)", path.name)
        if found and int(found[1]) > count:
            path.unlink()
