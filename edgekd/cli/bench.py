"""`edgekd bench`: latency on this machine, and accuracy if there is data."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekd.cli.console import console
from edgekd.cli.options import Json, RunName, Targets, Threads
from edgekd.cli.tables import Table

if TYPE_CHECKING:
    from edgekd.bench.reproduce import Comparison
    from edgekd.run import Run

__all__ = ["bench"]

_PLAIN = "plain"


def bench(
    run: RunName = None,
    target: Targets = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Pictures with ground-truth depth to score on; see edgekd.evaluate."),
    ] = None,
    protocol: Annotated[str, typer.Option(metavar="NAME", help="How depth is scored: plain, nyu-eigen, ...")] = _PLAIN,
    clip: Annotated[
        str | None, typer.Option(metavar="PATH", help="A video, or a folder of frames, to measure flicker on.")
    ] = None,
    threads: Threads = 1,
    streams: Annotated[
        int | None, typer.Option(min=1, max=64, metavar="N", help="Concurrent inferences, for throughput.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Pictures per inference.")] = 1,
    seconds: Annotated[
        float, typer.Option(min=0.0, metavar="S", help="Measure each artefact for at least this long.")
    ] = 5.0,
    device: Annotated[str | None, typer.Option(metavar="NAME", help="The runtime's device.")] = None,
    frames: Annotated[
        bool, typer.Option("--frames/--no-frames", help="Keep the worst frames of --data for the report.")
    ] = True,
    reproduce: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Repeat the measurements of this bench file and compare."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0.0, metavar="SHARE", help="With --reproduce: how much latency may differ. Default: 0.03 where stable."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Measure latency and accuracy on this machine.

    Accuracy needs --data; it is measured on the same files as latency.
    """
    from calibration.errors import ArtefactError, DataError, MissingRuntimeError, UsageError
    from edgekd.bench import BenchSettings, Scoring, bench_table
    from edgekd.evaluate import get_protocol, open_dataset
    from edgekd.run import find_run
    from edgekd.steps.bench import bench_run, open_clip

    scored_by = get_protocol(protocol)
    if data is None and reproduce is None and protocol != _PLAIN:
        raise UsageError(f"--protocol {protocol} needs --data to score on", fix="Add --data")
    settings = BenchSettings(threads=threads, device=device, batch=batch, seconds=seconds, streams=streams)
    if reproduce is not None and (target or clip is not None or protocol != _PLAIN or settings != BenchSettings()):
        raise UsageError(
            f"{reproduce} fixes what is measured and how: other settings would not be comparable",
            fix="With --reproduce pass only --data and --tolerance",
        )
    if reproduce is None and tolerance is not None:
        raise UsageError("--tolerance needs --reproduce to compare with", fix="Add --reproduce")
    found = find_run(run, console)
    if reproduce is not None:
        _reproduce(found, reproduce, data, tolerance)
        return
    scoring = None if data is None else Scoring(open_dataset(data), scored_by, data)
    shots = None if clip is None else open_clip(clip)
    result, path = bench_run(
        found, tuple(target or ()), settings, console, scoring=scoring, clip=shots, keep_frames=frames
    )
    console.result(result.to_json(), bench_table(result, width=console.width))
    if path is not None:
        console.note(f"Saved to {path}")
    if scoring is not None and found.caution is not None:
        console.note(f"{found.caution}; use the scale-aligned figures in the report")
    if all(row.latency is None for row in result.rows):
        kind = MissingRuntimeError if result.rows[0].missing else ArtefactError
        raise kind(f"Nothing was measured: {result.rows[0].reason}", fix=result.rows[0].fix or "")
    if scoring is not None and all(row.evaluation is None for row in result.rows):
        failed = next(row for row in result.rows if row.latency is not None)
        raise DataError(f"No accuracy was measured: {failed.reason}", fix=failed.fix or "")
    console.next_command("report", found.folder)


def _reproduce(run: Run, reproduce: Path, data: str | None, tolerance: float | None) -> None:
    from calibration.errors import DataError, UsageError
    from edgekd.bench.reproduce import Tolerances
    from edgekd.steps.bench import reproduce_bench

    tolerances = Tolerances()
    if tolerance is not None:
        if not tolerance < math.inf:
            raise UsageError(f"A tolerance of {tolerance} compares nothing", fix="Use a share, such as 0.1")
        tolerances = Tolerances(stable=tolerance, noisy=max(tolerance, tolerances.noisy))
    compared, path = reproduce_bench(run, reproduce, data, tolerances, console)
    console.result([asdict(one) for one in compared], _comparison(compared))
    if path is not None:
        console.note(f"Saved to {path}")
    if differing := [one for one in compared if one.outcome == "differs"]:
        raise DataError(
            f"{len(differing)} of {len(compared)} figures differ from {reproduce}, first {differing[0].figure} of "
            f"{differing[0].artefact}: {differing[0].why}",
            fix="See the table; if the machine is busy, wait and try again",
        )
    if all(one.outcome == "not compared" for one in compared):
        raise DataError(f"Nothing in {reproduce} could be compared", fix="See the table for why")
    console.next_command("report", run.folder)


def _comparison(compared: tuple[Comparison, ...]) -> Table:
    rows = [
        (
            one.artefact,
            one.figure,
            "-" if one.before is None else f"{one.before:.4g}",
            "-" if one.after is None else f"{one.after:.4g}",
            "-" if one.allowed is None else f"{one.allowed:.1%}",
            f"{one.outcome}{': ' if one.why else ''}{one.why}",
        )
        for one in compared
    ]
    return Table(("artefact", "figure", "then", "now", "allowed", "outcome"), rows, right=(2, 3, 4))
