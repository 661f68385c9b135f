"""Whether a run's calibration set is good enough for its model: measured once, kept, and compared with any frames."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.errors import FileError, RunLockedError
from calibration.files import read_json, write_json
from calibration.progress import Progress
from edgekd.pictures import list_pictures, read_picture
from edgekd.run import Run
from edgekd.steps.artefacts import calibration_set, run_model
from targets.coverage import UNCOVERED, LayerCoverage, measure_layers, measure_saturation
from targets.graph import DepthGraph, read_graph
from targets.input import Framing
from targets.reference import fold

__all__ = ["FramesCoverage", "frame_coverage", "read_frames", "run_coverage"]

_STEP = "coverage"


@dataclass(frozen=True)
class FramesCoverage:
    """The ranges tested on frames that nothing was calibrated on, layer by layer as in the run's coverage."""

    saturated: tuple[float, ...]  # share of values beyond each layer's range
    agreeing: int  # layers for which the set and the frames agree on whether the range is wide enough


def run_coverage(run: Run, progress: Progress) -> tuple[LayerCoverage, ...]:
    """Coverage of the run's calibration set, layer by layer of its model; measured if that was not done before.

    If the run cannot be written, or another process is writing it, the result is not kept, with a note. Raises
    RunError or FileError when the run is damaged, MissingRuntimeError without ONNX Runtime.
    """
    model, calibration = run_model(run), calibration_set(run)
    path = run.folder / "coverage.json"
    inputs = {"model": run.digest(model), "calibration": calibration.digest}
    if not run.is_done(_STEP, inputs=inputs, asked={}):
        images, held_out = calibration.split()
        layers = tuple(measure_layers(read_graph(model), images, np.asarray(held_out), progress))
        try:
            with run.lock(progress), run.step(_STEP, inputs=inputs, asked={}, command="edgekd check {run}") as made:
                write_json(path, [layer.to_json() for layer in layers])
                made.add(path)
        except (FileError, RunLockedError) as error:
            progress.note(f"Coverage was not saved and will be measured again next time: {error.message}")
        return layers
    try:
        return tuple(LayerCoverage.from_json(value) for value in read_json(path))
    except TypeError as error:
        raise FileError(
            f"{path} lacks a field ({error})",
            fix=f"Delete it and measure again: edgekd check {shlex.quote(str(run.folder))}",
        ) from error


def frame_coverage(
    graph: DepthGraph, layers: Sequence[LayerCoverage], frames: NDArray[np.uint8], progress: Progress
) -> FramesCoverage:
    """Compare the ranges with frames uint8 [N, H, W, 3]."""
    ranges = {layer.activation: (layer.low, layer.high) for layer in layers}
    beyond = measure_saturation(fold(graph.model), ranges, frames, progress)
    saturated = tuple(beyond[layer.activation] for layer in layers)
    same = [layer.narrow == (seen > UNCOVERED) for layer, seen in zip(layers, saturated, strict=True)]
    return FramesCoverage(saturated, sum(same))


def read_frames(folder: Path, framing: Framing) -> NDArray[np.uint8]:
    """The pictures of a folder, framed for the network, uint8 [N, H, W, 3]. Raises DataError."""
    return np.stack([framing.image(read_picture(path)) for path in list_pictures(folder)])
