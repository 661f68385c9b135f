"""`edgekd demo`: the whole pipeline in minutes, with nothing downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgekd.cli.check import check_tables
from edgekd.cli.console import console
from edgekd.cli.export import export_tables
from edgekd.cli.options import Device, Force, Json, Out, Seed, Threads, again
from edgekd.cli.tables import Table, figure

if TYPE_CHECKING:
    from edgekd.steps.demo import DemoResult

__all__ = ["demo"]


def demo(
    images: Annotated[int | None, typer.Option(min=1, metavar="N", help="Rooms to simulate.  [default: 640]")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Training steps of the student.  [default: 500]")
    ] = None,
    seed: Seed = 0,
    threads: Threads = 1,
    device: Device = "auto",
    out: Out = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Run the whole pipeline in minutes: no data, no download.

    Distils the built-in teacher, exports the student to every target available, checks and benches it.
    """
    from edgekd.steps.requirements import require_training

    require_training()
    from edgekd.bench import bench_table
    from edgekd.steps.demo import DemoSettings, demo

    standard = DemoSettings()
    settings = DemoSettings(
        out=out or standard.out,
        images=images or standard.images,
        steps=steps or standard.steps,
        seed=seed,
        threads=threads,
        device=device,
        force=force,
        command=again("demo"),
    )
    result = demo(settings, console)
    console.result(
        result.to_json(),
        _accuracy(result),
        *export_tables(result.exported),
        *check_tables(result.checked),
        bench_table(result.bench, width=console.width),
    )
    for picture in result.pictures:
        console.note(f"Have a look at: {picture}")
    console.note(f"Everything is in {result.run.folder}; it took {result.seconds / 60:.1f} minutes")
    console.next_command("distill", "--teacher", "SPEC")


def _accuracy(result: DemoResult) -> Table:
    rows = [(row.name, figure(row.absrel), figure(row.delta1), figure(row.agreement)) for row in result.accuracy]
    return Table(
        ("in float32, on held-out rooms", "AbsRel ↓", "δ1 ↑", "agreement ↑"),
        rows,
        right=(1, 2, 3),
        caption="agreement: δ1 against the teacher. The rooms are simulated: this is not accuracy on real pictures",
    )
