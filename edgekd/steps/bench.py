"""Measuring a run's artefacts on this machine and keeping the result in the run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.images import CalibrationSet
from calibration.progress import Progress
from edgekd.bench import BenchResult, BenchSettings, Scoring, bench
from edgekd.run import Run
from edgekd.steps.artefacts import built_artefacts, calibration_set

__all__ = ["bench_run"]

_CAMERA = (480, 640)  # height and width of the picture whose framing is measured
_PICTURES = 8


def bench_run(
    run: Run, targets: tuple[str, ...], settings: BenchSettings, progress: Progress, *, scoring: Scoring | None = None
) -> tuple[BenchResult, Path]:
    """Measure the artefacts; returns the result and the file in bench/ that keeps it.

    Raises what `built_artefacts` and `edgekd.bench.bench` raise, and RunLockedError.
    """
    with run.lock(progress):
        artefacts = built_artefacts(run, targets)
        calibration = calibration_set(run)
        about = f"{_PICTURES} held-out pictures of the run, scaled to {_CAMERA[1]}x{_CAMERA[0]}"
        with progress.task("Measuring"):
            result = bench(artefacts, _pictures(calibration), about, settings, progress, scoring=scoring)
        name = re.sub(r"[^a-z0-9]+", "-", result.machine.device.lower()).strip("-")
        path = run.folder / "bench" / f"{name}.json"
        inputs = {artefact.name: artefact.files[artefact.model] for artefact in artefacts}
        if scoring is not None:
            inputs["data"] = scoring.data.digest
        asked = {**asdict(settings), "protocol": None if scoring is None else scoring.protocol.name}
        with run.step(f"bench {name}", inputs=inputs, asked=asked, command="edgekd bench {run}") as made:
            result.write(path)
            made.add(path)
    return result, path


def _pictures(calibration: CalibrationSet) -> Sequence[NDArray[np.uint8]]:
    """As a camera gives them, so that framing them costs what it costs on the device."""
    from PIL import Image

    _, held_out = calibration.split()
    size = (_CAMERA[1], _CAMERA[0])
    return [np.asarray(Image.fromarray(picture).resize(size)) for picture in held_out[:_PICTURES]]
