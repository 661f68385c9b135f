"""`edgekd bench`: latency on this machine, and accuracy where there are data."""

from __future__ import annotations

from typing import Annotated

import typer

from edgekd.cli.console import console
from edgekd.cli.options import Json, RunName, Targets, Threads

__all__ = ["bench"]


def bench(
    run: RunName = None,
    target: Targets = None,
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help="Pictures with depth to score on; see edgekd.evaluate.")
    ] = None,
    protocol: Annotated[str, typer.Option(metavar="NAME", help="How depth is scored: plain, nyu-eigen, ...")] = "plain",
    threads: Threads = 1,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Pictures an inference.")] = 1,
    seconds: Annotated[
        float, typer.Option(min=0.0, metavar="S", help="Measure each artefact at least this long.")
    ] = 5.0,
    device: Annotated[str | None, typer.Option(metavar="NAME", help="The runtime's device.")] = None,
    json: Json = False,
) -> None:
    """Measure latency and accuracy on this machine.

    Accuracy only with --data; it is that of the same files whose latency is measured.
    """
    from edgekd.bench import BenchSettings, Scoring, bench_table
    from edgekd.evaluate import get_protocol, open_dataset
    from edgekd.run import find_run
    from edgekd.steps.bench import bench_run

    scored_by = get_protocol(protocol)
    settings = BenchSettings(threads=threads, device=device, batch=batch, seconds=seconds)
    found = find_run(run, console)
    scoring = None if data is None else Scoring(open_dataset(data), scored_by)
    result, path = bench_run(found, tuple(target or ()), settings, console, scoring=scoring)
    console.result(result.to_json(), bench_table(result, width=console.width))
    console.note(f"Kept in {path}")
    console.next_command("check", found.folder)
