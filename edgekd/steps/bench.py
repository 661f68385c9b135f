"""Measuring a run's artefacts on this machine and keeping the result in the run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError
from calibration.images import CalibrationSet
from calibration.progress import Progress
from edgekd.bench import BenchResult, BenchSettings, Clip, Scoring, bench
from edgekd.bench.flicker import panned_clip
from edgekd.bench.gallery import make_gallery
from edgekd.bench.reproduce import Comparison, Tolerances, compare, settings_of
from edgekd.evaluate import get_protocol, open_dataset
from edgekd.pictures import list_pictures, read_picture
from edgekd.run import Run
from edgekd.steps.artefacts import built_artefacts, calibration_set, exported_names
from edgekd.video import is_video, open_frames
from targets.base import RunnerOptions

__all__ = ["bench_run", "open_clip", "reproduce_bench"]

_CAMERA = (480, 640)  # height and width of the picture whose framing is measured
_PICTURES = 8
_SHOWN = 4  # held-out pictures in a report
_CLIP_FRAMES = 240


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
) -> tuple[BenchResult, Path]:
    """Measure the artefacts; returns the result and the file in bench/ that keeps it.

    Beside it lie the pictures for a report; the worst of the frames that were scored are among them unless
    `keep_frames` is off. Without a `clip` flicker is measured on held-out pictures that a window glides over. Raises
    what `built_artefacts` and `edgekd.bench.bench` raise, and RunLockedError.
    """
    with run.lock(progress):
        artefacts = built_artefacts(run, targets, progress)
        calibration = calibration_set(run)
        _, held_out = calibration.split()
        clip = clip or _glide(held_out)
        about = f"{_PICTURES} held-out pictures of the run, scaled to {_CAMERA[1]}x{_CAMERA[0]}"
        with progress.task("Measuring"):
            pictures = _pictures(calibration)
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
        inputs = {artefact.name: artefact.files[artefact.model] for artefact in artefacts}
        if scoring is not None:
            inputs["data"] = scoring.data.digest
        asked = {**asdict(settings), "protocol": None if scoring is None else scoring.protocol.name}
        with run.step(f"bench {name}", inputs=inputs, asked=asked, command="edgekd bench {run}") as made:
            result.write(path)
            gallery.write(path.with_suffix(".npz"))
            made.add(path, path.with_suffix(".npz"))
    return result, path


def reproduce_bench(
    run: Run, file: Path, data: str | None, tolerances: Tolerances, progress: Progress
) -> tuple[tuple[Comparison, ...], Path]:
    """Measure again what a bench result says, with its settings, and compare; returns that and the new file.

    `data` is where the frames lie now, if not where they lay then. Raises DataError for a file of another version or
    one without a measured artefact, and what `bench_run` raises.
    """
    before = BenchResult.read(file)
    measured = [row for row in before.rows if row.latency is not None]
    if not measured:
        raise DataError(f"{file} holds no measured artefact", fix="Give the file of a bench that ran")
    scored = next((row.evaluation for row in measured if row.evaluation is not None), None)
    where = data or before.data
    scoring = None
    if scored is not None and where is not None and (data is not None or Path(where).expanduser().exists()):
        scoring = Scoring(open_dataset(where), get_protocol(scored.protocol), where)
    targets = tuple(dict.fromkeys(row.target for row in measured))
    after, path = bench_run(
        run, targets, settings_of(before), progress, scoring=scoring, keep_frames=False, suffix="-again"
    )
    return compare(before, after, tolerances), path


def open_clip(source: str) -> Clip:
    """The first frames of a video file, or the pictures of a folder in the order of their names.

    Raises DataError for fewer than three frames or pictures of several sizes, MissingRuntimeError without PyAV.
    """
    if is_video(source):
        with open_frames(source) as opened:
            frames = [frame for frame, _ in zip(opened, range(_CLIP_FRAMES), strict=False)]
    else:
        frames = [read_picture(path) for path in list_pictures(Path(source))[:_CLIP_FRAMES]]
    if len(frames) < 3 or len({frame.shape for frame in frames}) > 1:
        raise DataError(
            f"{source} is no clip: it has {len(frames)} frames of {len({frame.shape for frame in frames})} sizes",
            fix="Give a video, or a folder of three or more successive frames of one size",
        )
    return Clip((np.stack(frames),), f"{len(frames)} frames of {Path(source).name}")


def _glide(held_out: NDArray[np.uint8]) -> Clip:
    shots = tuple(panned_clip(list(np.asarray(held_out[:3]))))
    return Clip(shots, f"{sum(map(len, shots))} frames: a window that glides over {len(shots)} held-out pictures")


def _name(result: BenchResult, scoring: Scoring | None, targets: tuple[str, ...]) -> str:
    """One file a device, and one more for each choice of targets, setting, data set and protocol: what was measured
    so does not replace what was measured otherwise. A report takes the newest of each artefact and setting."""
    settings = result.settings
    parts = [result.machine.device, *targets]
    parts += [f"{settings[what]} {what}" for what in ("threads", "batch") if settings[what] != 1]
    parts += [str(settings["device"])] if settings["device"] is not None else []
    parts += [] if scoring is None else [scoring.protocol.name, scoring.data.digest[:8]]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-") or "device"


def _pictures(calibration: CalibrationSet) -> Sequence[NDArray[np.uint8]]:
    """As a camera gives them, so that framing them costs what it costs on the device."""
    from PIL import Image

    _, held_out = calibration.split()
    size = (_CAMERA[1], _CAMERA[0])
    return [np.asarray(Image.fromarray(picture).resize(size)) for picture in held_out[:_PICTURES]]
