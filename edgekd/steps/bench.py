"""Measures a run's artefacts on this machine and keeps the result in the run."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calibration.errors import DataError, UsageError
from calibration.files import name_of
from calibration.images import CalibrationSet
from calibration.progress import Progress
from calibration.wording import counted
from edgekd.bench import BenchResult, BenchSettings, Clip, Scoring, bench
from edgekd.bench.flicker import panned_clip
from edgekd.bench.gallery import make_gallery
from edgekd.bench.reproduce import Comparison, Tolerances, compare, settings_of
from edgekd.evaluate import get_protocol, open_dataset
from edgekd.evaluate.datasets import find_data
from edgekd.pictures import list_pictures, read_picture
from edgekd.run import Run
from edgekd.steps.artefacts import built_artefacts, calibration_set, exported_names
from edgekd.video import is_video, open_frames
from targets.base import RunnerOptions

__all__ = ["bench_run", "open_clip", "reproduce_bench"]

_CAMERA = (480, 640)  # height and width of the pictures whose framing is timed
_PICTURES = 8
_SHOWN = 4  # held-out pictures in a report
_CLIP_FRAMES = 240
_CLIP_SIDE = 640  # longer side of a clip's frames: 15 s of 4K would fill a board's memory


def bench_run(
    run: Run,
    targets: tuple[str, ...],
    settings: BenchSettings,
    progress: Progress,
    *,
    scoring: Scoring | None = None,
    clip: Clip | None = None,
    keep_frames: bool = True,
    suffix: str = "",
) -> tuple[BenchResult, Path | None]:
    """Measure the artefacts; returns the result, and the file in bench/ that it was written to.

    A file beside it holds the pictures for a report, including the worst scored frames unless `keep_frames` is off.
    Where nothing could be measured and there is an earlier bench, its files are kept and none is returned; otherwise
    the file says why, for a report.
    Without a `clip`, flicker is measured by gliding a window over held-out pictures. Raises what `built_artefacts` and
    `edgekd.bench.bench` raise, and RunLockedError.
    """
    with run.lock(progress):
        artefacts = built_artefacts(run, targets, progress)
        calibration = calibration_set(run)
        _, held_out = calibration.split()
        clip = clip or _glide(held_out)
        about = f"{_PICTURES} held-out pictures of the run, scaled to {_CAMERA[1]}x{_CAMERA[0]}"
        pictures = _pictures(calibration)
        # Not inside a task: on a terminal its bar would be redrawn beside the inferences that are timed.
        result = bench(artefacts, pictures, about, settings, progress, scoring=scoring, clip=clip, run=run.name)
        gallery = make_gallery(
            artefacts,
            result.rows,
            np.asarray(held_out[:_SHOWN]),
            RunnerOptions(settings.threads, settings.device),
            progress,
            scoring=scoring,
            keep_frames=keep_frames,
        )
        name = _name(result, scoring, () if len(artefacts) == len(exported_names(run)) else targets) + suffix
        path = run.folder / "bench" / f"{name}.json"
        if path.is_file() and all(row.latency is None for row in result.rows):
            progress.note(f"Nothing was measured, so {path} is kept as it was")
            return result, None
        inputs = {artefact.name: artefact.files[artefact.model] for artefact in artefacts}
        if scoring is not None:
            inputs["data"] = scoring.data.digest
        asked = {**asdict(settings), "protocol": None if scoring is None else scoring.protocol.name}
        command = _command(targets, settings, scoring, clip)
        with run.step(f"bench {name}", inputs=inputs, asked=asked, command=command) as made:
            result.write(path)
            gallery.write(path.with_suffix(".npz"))
            made.add(path, path.with_suffix(".npz"))
    return result, path


def reproduce_bench(
    run: Run, file: Path, data: str | None, tolerances: Tolerances, progress: Progress
) -> tuple[tuple[Comparison, ...], Path | None]:
    """Repeat the measurements of a bench result with its settings; returns the comparison and the new file, if any.

    `data` is where the frames are now, if they were moved. Raises DataError for a file of another version or one
    without a measured artefact, UsageError for `data` where the file holds no accuracy, and what `bench_run` raises.
    """
    before = BenchResult.read(file)
    measured = [row for row in before.rows if row.latency is not None]
    if not measured:
        raise DataError(f"{file} holds no measured artefact", fix="Pass the file of a bench that measured something")
    scored = next((row.evaluation for row in measured if row.evaluation is not None), None)
    if data is not None and scored is None:
        raise UsageError(f"{file} holds no accuracy, so --data has nothing to be compared with", fix="Omit --data")
    where = data or before.data  # empty in files of older demos, which did not record it
    scoring = None
    if scored is not None and where and (data is not None or find_data(where) is not None):
        scoring = Scoring(open_dataset(where), get_protocol(scored.protocol), where)
    targets = tuple(dict.fromkeys(row.target for row in measured))
    suffix = "-again"
    while file.stem.endswith(suffix):  # what is compared with must not be replaced
        suffix += "-again"
    after, path = bench_run(
        run, targets, settings_of(before), progress, scoring=scoring, keep_frames=False, suffix=suffix
    )
    return compare(before, after, tolerances), path


def open_clip(source: str) -> Clip:
    """The first frames of a video file, or the pictures of a folder in natural order of their names: 2 before 10.

    Raises DataError for fewer than three frames or pictures of several sizes, MissingRuntimeError without PyAV.
    """
    if not source:  # a shell's unset variable; as a path it would be the current folder
        raise DataError("The path of the clip is empty", fix="Pass a video, or a folder of successive frames")
    sizes: set[tuple[int, ...]] = set()
    with ExitStack() as stack:
        if is_video(source):
            frames: Iterator[NDArray[np.uint8]] = iter(stack.enter_context(open_frames(source)))
        else:
            frames = map(read_picture, sorted(list_pictures(Path(source)), key=_by_number))
        kept = []
        for frame in itertools.islice(frames, _CLIP_FRAMES):
            sizes.add(frame.shape)
            kept.append(_reduced(frame))
    if len(kept) < 3 or len(sizes) > 1:
        raise DataError(
            f"{source} is not a clip (frames: {len(kept)}, sizes: {len(sizes)})",
            fix="Pass a video, or a folder of three or more successive frames of one size",
        )
    return Clip((np.stack(kept),), f"{len(kept)} frames of {name_of(Path(source))}", source)


def _by_number(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]


def _reduced(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(frame)
    image.thumbnail((_CLIP_SIDE, _CLIP_SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(image)


def _command(targets: tuple[str, ...], settings: BenchSettings, scoring: Scoring | None, clip: Clip) -> str:
    """The command that repeats the measurement, with {run} in place of the run's folder."""
    usual = BenchSettings()
    options: list[tuple[str, object]] = [("--target", target) for target in targets]
    if scoring is not None and scoring.spec is not None:
        options += [("--data", scoring.spec), ("--protocol", scoring.protocol.name)]
    options += [] if clip.spec is None else [("--clip", clip.spec)]
    names = ("threads", "streams", "batch", "seconds", "device")
    options += [
        (f"--{name}", getattr(settings, name)) for name in names if getattr(settings, name) != getattr(usual, name)
    ]
    return " ".join(["edgekd bench {run}", *(f"{name} {shlex.quote(f'{value}')}" for name, value in options)])


def _glide(held_out: NDArray[np.uint8]) -> Clip:
    shots = tuple(panned_clip(list(np.asarray(held_out[:3]))))
    return Clip(
        shots, f"{sum(map(len, shots))} frames: a window that glides over {counted(len(shots), 'held-out picture')}"
    )


def _name(result: BenchResult, scoring: Scoring | None, targets: tuple[str, ...]) -> str:
    """A file name for each choice of device, targets, threads, batch, data set and protocol, so that one measurement
    does not replace another. A report takes the newest of each artefact and setting."""
    settings = result.settings
    parts = [result.machine.device, *targets]
    parts += [f"{settings[what]} {what}" for what in ("threads", "batch") if settings[what] != 1]
    parts += [str(settings["device"])] if settings["device"] is not None else []
    parts += [] if scoring is None else [scoring.protocol.name, scoring.data.digest[:8]]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-") or "device"


def _pictures(calibration: CalibrationSet) -> Sequence[NDArray[np.uint8]]:
    """Held-out pictures at a camera's size, so that framing them costs as much as on the device."""
    _, held_out = calibration.split()
    size = (_CAMERA[1], _CAMERA[0])
    return [np.asarray(Image.fromarray(picture).resize(size)) for picture in held_out[:_PICTURES]]
