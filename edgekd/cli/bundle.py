"""`edgekd bundle`: a folder to copy to the device, where it builds, tests and runs itself."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekd.cli.console import console
from edgekd.cli.options import Engine, Json, Precisions, RunName, Targets, engine_options, repeated
from edgekd.cli.tables import Table, size_text

if TYPE_CHECKING:
    from targets.bundle.write import WrittenBundle

__all__ = ["bundle"]

Camera = Annotated[
    str | None,
    typer.Option(metavar="WxH", help="The camera's frame size, such as 640x480; frames are then resized in the graph."),
]


def bundle(
    run: RunName = None,
    target: Targets = None,
    precision: Precisions = None,
    camera: Camera = None,
    engine: Engine = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to write it.  [default: bundle/ in the run]")
    ] = None,
    json: Json = False,
) -> None:
    """Write a self-contained folder to run on the device.

    It builds what is missing there, tests itself, shows its latency and predicts; it needs Python 3.8, numpy and a
    runtime, but not edgekd. For every runtime unless --target is given.
    """
    from edgekd.run import find_run
    from edgekd.steps.bundle import BundleSettings, bundle_run
    from targets.camera import parse_size

    size = None if camera is None else parse_size(camera)
    settings = BundleSettings(tuple(target or ()), tuple(precision or ()), size, engine_options(engine))
    found = find_run(run, console)
    written = bundle_run(found, settings, console, out)
    console.result(_json(written), _table(written))
    console.note(f"Copy {written.archive} to the device, unpack it and run there: python3 run.py")
    console.next_command("export", found.folder, *repeated("--target", settings.targets), "--on", "user@board")


def _table(written: WrittenBundle) -> Table:
    rows = [
        (file, size_text((written.folder / file).stat().st_size), f"{error:.3%}", f"{written.tolerances[file]:.3%}")
        for file, error in written.errors.items()
    ]
    caption = (
        f"{written.folder}: {size_text(written.size)}, of which {size_text(written.models_size)} is models; "
        f"{written.archive.name} {size_text(written.archive.stat().st_size)}"
    )
    return Table(("model", "size", "self-test", "allowed"), rows, right=(1, 2, 3), caption=caption)


def _json(written: WrittenBundle) -> dict[str, Any]:
    return {**asdict(written), "folder": str(written.folder), "archive": str(written.archive)}
