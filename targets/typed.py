"""The ONNX model for a strongly typed runtime: its types state the precision of each computation."""

from __future__ import annotations

from pathlib import Path

from calibration.progress import Progress
from targets.building import Job
from targets.calibrated import quantise
from targets.encodings import S8
from targets.graph import copy_model, mark, write_model
from targets.half import require_half, to_half
from targets.quantise import calibrate

__all__ = ["write_typed"]


def write_typed(job: Job, path: Path, progress: Progress) -> dict[str, str]:
    """Write the model of the job's precision: as it is, in float16, or in the S8 encoding. Returns what was decided.

    Raises ModelError where float16 cannot hold a weight or an activation.
    """
    settings: dict[str, str] = {}
    if job.precision == "fp16":
        require_half(job.graph, job.drift_images, progress)
        model = to_half(job.graph.model)
    elif job.precision == "int8":
        calibrated = calibrate(job.graph, job.images, progress, job.budget)
        model = quantise(calibrated, S8)
        settings = calibrated.settings(S8)
    else:
        model = copy_model(job.graph.model)
    mark(model, student=job.graph.sha256, calibration=job.calibration if job.precision == "int8" else None)
    write_model(path, model)
    return settings
