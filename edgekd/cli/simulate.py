"""`edgekd simulate`: simulated rooms, to look at or to distil with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgekd.cli.console import console
from edgekd.cli.options import Json, Seed
from edgekd.cli.tables import Table

__all__ = ["simulate"]

_PREVIEWED = 8


def simulate(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write the set.")] = Path("simulated"),
    count: Annotated[int, typer.Option(min=1, metavar="N", help="Pictures to render.")] = 200,
    look: Annotated[str, typer.Option(metavar="NAME", help="Look: simulated or photographed.")] = "simulated",
    seed: Seed = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Rendering processes.  [default: one per core]")
    ] = None,
    keep_depth: Annotated[bool, typer.Option("--keep-depth", help="Keep depth beside pictures and ids.")] = False,
    meshes: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="glTF, OBJ or PLY furniture of your own, in metres.")
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help=f"Write the first {_PREVIEWED} as <out>.preview.png.")
    ] = False,
    json: Json = False,
) -> None:
    """Render a set of simulated rooms.

    If interrupted, run the same command again to resume.
    """
    from edgekd.cores import allowed_cores
    from edgekd.distill.settings import DistillSettings
    from edgekd.run import locked
    from edgekd.simulate.meshes.folder import MeshFolder
    from edgekd.simulate.rooms import RoomSettings
    from edgekd.simulate.store import write_set

    settings = RoomSettings(look=look, meshes=None if meshes is None else MeshFolder.open(meshes, console))
    named = out if out.name not in ("", "..") else out.resolve()  # `.` has no name for the preview to take
    sheet = named.parent / f"{named.name}.preview.png"
    with locked(out, console):
        made = write_set(
            out,
            settings,
            seed=seed,
            count=count,
            workers=workers or len(allowed_cores()),
            keep_depth=keep_depth,
            progress=console,
        )
    value: dict[str, Any] = {"folder": str(out), "count": len(made), "digest": made.digest, "preview": None}
    rows = [("folder", str(out)), ("pictures", str(len(made))), ("digest", made.digest)]
    if preview:
        from edgekd.pictures import save_png
        from edgekd.simulate.preview import contact_sheet

        save_png(sheet, contact_sheet([made[index] for index in range(min(len(made), _PREVIEWED))], 2))
        value["preview"] = str(sheet)
        rows.append(("preview", str(sheet)))
    console.result(value, Table(("simulated rooms", ""), rows))
    least = DistillSettings().least_images
    if len(made) >= least:
        console.next_command("distill", "--teacher", "SPEC", "--images", out)
    else:  # too few to train a student: the same rooms, and more of them, in a folder of their own
        same: list[str | Path] = ["--look", look] if look != RoomSettings.look else []
        same += ["--seed", str(seed)] if seed != 0 else []
        same += ["--keep-depth"] if keep_depth else []
        same += ["--meshes", meshes] if meshes is not None else []
        console.next_command("simulate", *same, "--count", str(least), "--out", "FOLDER")
