"""Depth of a video or of what a camera sees: one video with picture and depth side by side, and how fast it went."""

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
from calibration.progress import Progress
from edgekd.interrupt import deferred_interrupt
from edgekd.pictures import depth_range, save_depth
from edgekd.pictures.colour import DEFAULT_COLOURS
from edgekd.steps.predict import onto_picture
from edgekd.video import Frames, SideBySide, VideoWriter, open_frames, sample_frames
from targets import get_target
from targets.base import Artefact, Runner, RunnerOptions

__all__ = ["VideoPrediction", "VideoSettings", "predict_video"]

_JUDGED = 12  # frames that decide the range of the colours
_RECENT = 30  # frames over which frames per second are counted


@dataclass(frozen=True)
class VideoSettings:
    """`seconds` ends a camera's picture; `frames` and `values` keep every frame's depth as PNG and as NPY."""

    seconds: float | None = None
    frames: bool = False
    values: bool = False
    colours: str = DEFAULT_COLOURS

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise UsageError(f"{self.seconds} seconds cannot be recorded", fix="Give a positive number")


@dataclass(frozen=True)
class VideoPrediction:
    """What was made of a video."""

    source: str
    video: Path
    depth: Path | None  # the folder with each frame's depth
    frames: int
    rate: float  # frames a second from reading to writing
    infer: float  # milliseconds of one inference, median
    low: float  # metres, of the colours
    high: float


def predict_video(
    artefact: Artefact, source: str, out: Path, options: RunnerOptions, settings: VideoSettings, progress: Progress
) -> VideoPrediction:
    """Write <name>.depth.mp4 of a video file or of `camera[:WHICH]`.

    A file that ends early gives a video of the frames before, and DataError tells of it then. A camera is recorded
    until Ctrl-C or for `settings.seconds`. Raises DataError, ArtefactError, FileError, DiskFullError or
    MissingRuntimeError.
    """
    with open_frames(source) as frames, get_target(artefact.target).open(artefact, options) as runner:
        name = re.sub(r"[^\w.-]+", "-", frames.name).strip("-") if frames.live else Path(source).stem
        shown = iter(frames)
        judged = list(itertools.islice(shown, _JUDGED)) if frames.live else sample_frames(Path(source), _JUDGED)
        low, high = depth_range([_depth(runner, rgb) for rgb in judged])
        # What a camera shows meanwhile is lost: its recording begins now, with the last of these.
        pictures = _seen(itertools.chain(judged[-1:], shown) if frames.live else shown)
        work = _Work(runner, frames, SideBySide(low, high, settings.colours), settings, out / name)
        done = work.run(pictures, progress)
    if frames.damage is not None:
        expected = f" of {frames.expected}" if frames.expected else ""
        raise DataError(
            f"{source} ends early ({frames.damage}): {done.frames}{expected} frames could be read, their depth is in "
            f"{done.video}",
            fix="Restore the file, or cut it where it is damaged",
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
        infers: list[float] = []
        begun = time.perf_counter()
        ends: deque[float] = deque([begun], maxlen=_RECENT)
        total = None if self.frames.live else self.frames.expected
        with VideoWriter(video, self.frames.rate) as writer, progress.task("Predicting", total) as advance:
            first = None
            for seen, rgb in self._until_the_end(pictures, progress):
                first = seen if first is None else first
                start = time.perf_counter()
                depth = _depth(self.runner, rgb)
                infers.append(time.perf_counter() - start)
                pace = (len(ends) - 1) / (ends[-1] - ends[0]) if len(ends) > 1 else 0.0
                caption = f"{self.runner.artefact.name}   {1000 * infers[-1]:.1f} ms a frame   {pace:.1f} frames/s"
                # A camera's frames are shown when they were seen: those that come meanwhile are lost.
                writer.add(self.scene.draw(rgb, depth, caption), seen - first if self.frames.live else None)
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
        """A camera has no end of its own: the seconds asked for, or Ctrl-C, which keeps what was recorded.

        A second Ctrl-C is for a camera that gives no frame any more.
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
            metres.unlink(missing_ok=True)  # of an earlier command, perhaps of another model


def _seen(frames: Iterable[NDArray[np.uint8]]) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Each picture with the time at which it came, in seconds."""
    for rgb in frames:
        yield time.perf_counter(), rgb


def _remove_beyond(folder: Path, count: int) -> None:
    """Frames of an earlier and longer video, which would pass for the end of this one."""
    for path in folder.iterdir():
        found = re.fullmatch(r"(\d{6,})\.depth\.(png|npy)", path.name)
        if found and int(found[1]) > count:
            path.unlink()


def _depth(runner: Runner, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    framing = runner.artefact.input.framing
    return onto_picture(runner.infer(framing.image(rgb)[None])[0], framing, rgb.shape[0], rgb.shape[1])
