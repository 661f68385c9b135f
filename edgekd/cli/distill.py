"""`edgekd distill`: a student from a teacher's weights, without data."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekd.cli.console import console
from edgekd.cli.options import Architecture, Device, Force, Images, Json, Out, Seed, Statistics, TeacherSpec, again
from edgekd.cli.runs import show_made
from edgekd.distill.settings import (
    DistillSettings,
    FeatureSettings,
    GrowthSettings,
    MixingSettings,
    QuantisationSettings,
    ReconstructionSettings,
    TransformSettings,
)

__all__ = ["distill"]

_STANDARD = DistillSettings()


def distill(
    teacher: TeacherSpec = None,
    architecture: Architecture = None,
    student: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Cut from the teacher: slim-s, slim-m, slim-l. Others: mobile-s, mobile-m, mobile-l, "
            "mobilenetv2-035, mobilenetv2-050, mobilenetv2-100, lite0-small, lite0, hu-mobilenetv2, hu-resnet34, "
            "fcrn-resnet18, fcrn-resnet50.  [default: slim-l]",
        ),
    ] = None,
    images: Images = "2000",
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Training steps.  [default: depends on the student]")
    ] = None,
    batch: Annotated[int, typer.Option(min=2, metavar="N", help="Images per step.")] = _STANDARD.batch,
    accumulate: Annotated[
        int, typer.Option(min=1, metavar="N", help="Split each batch into this many parts, to save memory.")
    ] = _STANDARD.accumulate,
    learning_rate: Annotated[
        float | None, typer.Option(min=0.0, metavar="RATE", help="Learning rate.  [default: depends on the student]")
    ] = None,
    mixing: Annotated[bool, typer.Option("--mixing/--no-mixing", help="Paste in objects from other images.")] = True,
    transformation: Annotated[
        bool, typer.Option("--transformation/--no-transformation", help="Fit images to the teacher's statistics.")
    ] = True,
    features: Annotated[
        bool, typer.Option("--features/--no-features", help="Match the student's features to the teacher's too.")
    ] = True,
    reconstruction: Annotated[
        bool,
        typer.Option(
            "--reconstruction/--no-reconstruction",
            help="Initialise a slim student by least squares.",
        ),
    ] = True,
    int8_steps: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Extra steps in simulated int8, which learn the ranges."),
    ] = 0,
    statistics: Statistics = None,
    background: Annotated[
        bool, typer.Option("--background", help="Start training while the rooms are still being rendered.")
    ] = False,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Training precision: auto, float32 or bfloat16. auto: bfloat16 on a GPU only."
        ),
    ] = _STANDARD.precision,
    out: Out = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Distil a small student from a depth teacher.

    Simulated images are all it needs. If interrupted, run the same command again to resume.
    """
    from edgekd.steps.requirements import require_training

    require_training()
    from edgekd.distill.ranks import leads
    from edgekd.models.students import DEFAULT_STUDENT, student_named
    from edgekd.steps.distill import DistillRequest, distill_run
    from edgekd.steps.images import parse_images

    if teacher is None and leads():
        console.note("No --teacher given: using `rooms`, the built-in one, as a stand-in for yours")
    chosen = student or DEFAULT_STUDENT
    entry = student_named(chosen)
    request = DistillRequest(
        teacher=teacher or "rooms",
        architecture=architecture,
        student=chosen,
        images=parse_images(images, seed),
        settings=DistillSettings(
            steps=entry.steps if steps is None else steps,
            batch=batch,
            accumulate=accumulate,
            learning_rate=entry.learning_rate if learning_rate is None else learning_rate,
            seed=seed,
            precision=precision,
            mixing=MixingSettings() if mixing else None,
            transform=TransformSettings() if transformation else None,
            features=FeatureSettings() if features else None,
            reconstruction=ReconstructionSettings() if reconstruction else None,
            growth=GrowthSettings() if background else None,
            quantisation=QuantisationSettings(int8_steps) if int8_steps else None,
        ),
        statistics=statistics,
        device=device,
        out=out,
        force=force,
        command=again("distill"),
    )
    run = distill_run(request, console)
    if not leads():
        return
    show_made(run, ("distill", "calibration", "onnx"))
    console.next_command("export", run.folder)
