"""`edgekd predict`: depth for the user's own pictures, videos and cameras."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekd.cli.console import console
from edgekd.cli.options import Json, Threads
from edgekd.cli.tables import Table

if TYPE_CHECKING:
    from edgekd.steps.predict import Prediction
    from edgekd.steps.predict_video import VideoPrediction

__all__ = ["predict"]


def predict(
    first: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="A run, as elsewhere. Default: the newest.", show_default=False),
    ] = None,
    second: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE", help="A picture, a folder of them, a video, or camera, camera:1, camera:/dev/video2."
        ),
    ] = None,
    artefact: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Such as onnxruntime-int8. Default: one that runs here, int8 first."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write the results.")] = Path("predicted"),
    npy: Annotated[bool, typer.Option("--npy", help="Also write float32 metres as .npy.")] = False,
    frames: Annotated[
        bool, typer.Option("--frames", help="For a video: also write each frame's depth as 16-bit PNG.")
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="S", help="For a camera: how long to record. Default: until Ctrl-C."),
    ] = None,
    colours: Annotated[str, typer.Option(metavar="NAME", help="Colour map: warm, sea or grey.")] = "warm",
    threads: Threads = 1,
    device: Annotated[str | None, typer.Option(metavar="NAME", help="The runtime's device.")] = None,
    json: Json = False,
) -> None:
    """Predict the depth of pictures, a video or a camera.

    Writes depth in colour with a scale, and for pictures as 16-bit PNG in millimetres; for a video or camera
    one video with picture and depth side by side.
    """
    from calibration.errors import DataError, UnknownNameError, UsageError
    from edgekd.pictures.colour import COLOURS
    from edgekd.run import find_run, is_run
    from edgekd.run.manifest import NAME
    from edgekd.steps.artefacts import choose_artefact
    from edgekd.steps.predict import predict_pictures
    from edgekd.steps.predict_video import VideoSettings, predict_video
    from edgekd.video import is_camera, is_video
    from targets.base import RunnerOptions

    if colours not in COLOURS:
        raise UnknownNameError("colour map", colours, COLOURS)

    run, source = (None, first) if second is None else (first, second)  # the run comes first and may be omitted
    if not source or (second is None and is_run(source)):
        hidden = source and Path(source).is_dir() and not (Path(source) / NAME).is_file()
        also = f"; {source} is the name of a run, and the folder is ./{source}" if hidden else ""
        raise UsageError("No input to predict on", fix=f"Pass a picture, a folder, a video or camera{also}")
    if seconds is not None and not is_camera(source):
        raise UsageError(f"--seconds is for a camera, and {source} is not one", fix="Omit it")
    if frames and not (is_camera(source) or is_video(source)):
        raise UsageError(
            f"--frames is for a video, and {source} is not one", fix="Omit it: depth of pictures is always written"
        )
    found = find_run(run, console)
    chosen = choose_artefact(found, artefact, console)
    console.note(f"Predicting with {chosen.name} from {found.folder}")
    options = RunnerOptions(threads, device)
    if is_camera(source) or is_video(source):
        settings = VideoSettings(seconds, frames, npy, colours)
        done = predict_video(chosen, source, out, options, settings, console)
        console.result(_json(done), _video_table(done))
    else:
        made, unread = predict_pictures(chosen, Path(source), out, options, console, values=npy, colours=colours)
        console.result([_json(prediction) for prediction in made], *([_table(made)] if made else []))
        if unread:
            raise DataError(
                f"{len(unread)} of {len(made) + len(unread)} pictures in {source} could not be read, first "
                f"{unread[0]}; the others are in {out}",
                fix="Restore or remove them",
            )
        if any(prediction.covered < 0.999 for prediction in made):
            console.note("The network sees only the middle of a picture; depth is 0 elsewhere")
    if found.caution is not None:
        console.note(found.caution)
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


def _video_table(done: VideoPrediction) -> Table:
    row = (
        str(done.video),
        str(done.frames),
        f"{done.rate:.1f}",
        f"{done.infer:.2f}",
        f"{done.low:.2f}-{done.high:.2f}",
    )
    return Table(("video", "frames", "frames/s", "infer ms", "colours m"), [row], right=(1, 2, 3, 4))


def _json(prediction: Prediction | VideoPrediction) -> dict[str, Any]:
    fields = vars(prediction)
    return {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}
