"""`edgekd statistics`: measures what the owner of private pictures can share about them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.console import console
from edgekd.cli.options import Architecture, Device, Json, TeacherSpec
from edgekd.cli.tables import Table, size_text

__all__ = ["statistics"]


def statistics(
    teacher: TeacherSpec = None,
    architecture: Architecture = None,
    images: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The private pictures; they stay on this machine.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to share.")] = Path("statistics.safetensors"),
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure statistics that stand in for private pictures.

    The file holds a teacher's means and variances, layer by layer: two numbers per channel, over all pictures
    together. They replace what BatchNorm layers would have stored, for distilling a teacher that has none.
    """
    from calibration.errors import MissingRuntimeError, ModelError, UsageError
    from calibration.files import require_writable
    from edgekd.steps.requirements import require_training

    if teacher is None or images is None:
        raise UsageError("Statistics need a teacher and pictures", fix="Pass --teacher SPEC and --images FOLDER")
    require_training()
    require_writable(out)
    _require_replaceable(out)
    from edgekd.models.slim import require_cuttable
    from edgekd.models.teachers import load_teacher
    from edgekd.steps.statistics import measure_statistics

    loaded = load_teacher(teacher, architecture=architecture, progress=console)
    measured = measure_statistics(loaded, images, console, device=device)
    measured.write(out)
    names, sizes = measured.statistics.names, measured.statistics.sizes
    console.result(
        {"file": str(out), "teacher": measured.teacher, "pictures": measured.pictures, "layers": list(names)},
        Table(
            ("layer", "channels"),
            [(name, str(size)) for name, size in zip(names, sizes, strict=True)],
            right=(1,),
            caption=f"of {measured.pictures} pictures, {size_text(out.stat().st_size)}",
        ),
    )
    console.note(
        "The file holds a mean and a variance per channel over all pictures. No picture can be computed from them, but"
        " they do reveal what the set looks like as a whole"
    )
    stated = () if architecture is None else ("--architecture", architecture)
    student: tuple[str, ...] = ()
    try:
        require_cuttable(loaded)
    except (ModelError, MissingRuntimeError):  # no student can be cut from this teacher, or torch-pruning is missing
        student = ("--student", "mobile-m")
    console.next_command("distill", "--teacher", teacher, *stated, *student, "--statistics", out)


def _require_replaceable(out: Path) -> None:
    """Raise UsageError rather than replace a picture or weights, named by mistake; statistics may be replaced."""
    from calibration.errors import UsageError
    from calibration.weights import STATISTICS, kind_of_weights

    if out.exists() and out.stat().st_size and kind_of_weights(out) != STATISTICS:
        raise UsageError(f"{out} exists and is not a statistics file", fix="Choose another file with --out")
