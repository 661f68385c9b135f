"""`edgekd calibrate`: prepares the teacher itself for the device, quantised without its data."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekd.cli.console import console
from edgekd.cli.options import Architecture, Device, Force, Images, Json, Out, Seed, Statistics, TeacherSpec, again
from edgekd.cli.runs import show_made

__all__ = ["calibrate"]


def calibrate(
    teacher: TeacherSpec = None,
    architecture: Architecture = None,
    images: Images = "600",
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Steps of the transformation.")] = 300,
    transformation: Annotated[
        bool, typer.Option("--transformation/--no-transformation", help="Fit images to the teacher's statistics.")
    ] = True,
    statistics: Statistics = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Prepare the teacher itself for the device, without a student.

    Exports the teacher, and makes simulated images to calibrate on when it is quantised.
    """
    from calibration.errors import UsageError
    from edgekd.steps.requirements import require_training

    if teacher is None:
        raise UsageError("Calibrating needs a teacher", fix="Pass --teacher; `rooms` is the built-in one")
    require_training()
    from edgekd.distill.settings import DistillSettings
    from edgekd.steps.calibrate import CALIBRATING, CalibrateRequest, calibrate_run
    from edgekd.steps.images import parse_images

    request = CalibrateRequest(
        teacher=teacher,
        architecture=architecture,
        images=parse_images(images, seed),
        settings=DistillSettings(
            steps=steps, seed=seed, mixing=None, transform=CALIBRATING if transformation else None
        ),
        statistics=statistics,
        device=device,
        out=out,
        force=force,
        command=again("calibrate"),
    )
    run = calibrate_run(request, console)
    show_made(run, ("calibrate", "calibration", "onnx"))
    console.next_command("export", run.folder)
