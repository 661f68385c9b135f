"""`edgekd predict`: depth of a person's own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekd.cli.console import console
from edgekd.cli.options import Json, Threads
from edgekd.cli.tables import Table

if TYPE_CHECKING:
    from edgekd.steps.predict import Prediction

__all__ = ["predict"]


def predict(
    first: Annotated[str, typer.Argument(metavar="[RUN]", help="As elsewhere; may be left out.")],
    second: Annotated[
        str | None, typer.Argument(metavar="PICTURE|FOLDER", help="A picture, or a folder of them.")
    ] = None,
    artefact: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Such as onnxruntime-int8. Left out: one that runs here, int8 first."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the results go.")] = Path("depth"),
    npy: Annotated[bool, typer.Option("--npy", help="Write float32 metres as .npy as well.")] = False,
    threads: Threads = 1,
    device: Annotated[str | None, typer.Option(metavar="NAME", help="The runtime's device.")] = None,
    json: Json = False,
) -> None:
    """Predict the depth of pictures.

    Writes depth in colour with a scale, and as 16-bit PNG in millimetres.
    """
    from edgekd.run import find_run
    from edgekd.steps.artefacts import choose_artefact
    from edgekd.steps.predict import predict_pictures
    from targets.base import RunnerOptions

    run, source = (None, first) if second is None else (first, second)  # the run comes first and may be left out
    found = find_run(run, console)
    chosen = choose_artefact(found, artefact)
    console.note(f"Predicting with {chosen.name} of {found.folder}")
    made = predict_pictures(chosen, Path(source), out, RunnerOptions(threads, device), console, values=npy)
    console.result([_json(prediction) for prediction in made], _table(made))
    if any(prediction.covered < 0.999 for prediction in made):
        console.note("The network looks at the middle of a picture; where it saw nothing depth is 0")
    console.next_command("bench", found.folder)


def _table(made: list[Prediction]) -> Table:
    rows = [
        (str(p.picture), str(p.colour), f"{p.nearest:.2f}", f"{p.median:.2f}", f"{p.farthest:.2f}", f"{p.covered:.0%}")
        for p in made
    ]
    return Table(
        ("picture", "depth in colour", "near m", "median m", "far m", "seen"),
        rows,
        right=(2, 3, 4, 5),
        caption="near and far: 1st and 99th percentile",
    )


def _json(prediction: Prediction) -> dict[str, Any]:
    fields = vars(prediction)
    return {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}
