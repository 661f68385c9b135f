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
            help="Cut out of the teacher: slim-s, slim-m, slim-l. Others: mobile-s, mobile-m, mobile-l, "
            "mobilenetv2-035, mobilenetv2-050, mobilenetv2-100, lite0-small, lite0, hu-mobilenetv2, hu-resnet34, "
            "fcrn-resnet18, fcrn-resnet50.  [default: slim-l]",
        ),
    ] = None,
    images: Images = "2000",
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Steps of the student.  [default: what suits it]")
    ] = None,
    batch: Annotated[int, typer.Option(min=2, metavar="N", help="Images a step.")] = _STANDARD.batch,
    accumulate: Annotated[
        int, typer.Option(min=1, metavar="N", help="Parts that a batch is worked off in, for want of memory.")
    ] = _STANDARD.accumulate,
    learning_rate: Annotated[
        float | None, typer.Option(min=0.0, metavar="RATE", help="Of the student.  [default: what suits it]")
    ] = None,
    mixing: Annotated[bool, typer.Option("--mixing/--no-mixing", help="Paste objects of other images in.")] = True,
    transformation: Annotated[
        bool, typer.Option("--transformation/--no-transformation", help="Fit images to the teacher's statistics.")
    ] = True,
    features: Annotated[
        bool, typer.Option("--features/--no-features", help="Hold the student's features to the teacher's too.")
    ] = True,
    reconstruction: Annotated[
        bool,
        typer.Option(
            "--reconstruction/--no-reconstruction",
            help="Solve for the first weights of a slim student by least squares.",
        ),
    ] = True,
    int8_steps: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Steps after those, with int8 simulated: the ranges are learned."),
    ] = 0,
    statistics: Statistics = None,
    background: Annotated[
        bool, typer.Option("--background", help="Start while the rooms are still being rendered.")
    ] = False,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Annotated[
        str,
        typer.Option(metavar="NAME", help="Of the training: auto, float32 or bfloat16. auto: bfloat16 on a GPU only."),
    ] = _STANDARD.precision,
    out: Out = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Distil a small student from a depth teacher.

    Simulated images are all it needs; an interrupted distillation goes on when the same command is
    run again.
    """
    from edgekd.steps.requirements import require_training

    require_training()
    from edgekd.distill.ranks import leads
    from edgekd.models.students import DEFAULT_STUDENT, student_named
    from edgekd.steps.distill import DistillRequest, distill_run
    from edgekd.steps.images import parse_images

    if teacher is None and leads():
        console.note("No --teacher was given: taking `rooms`, the built-in one. It stands in for yours")
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
