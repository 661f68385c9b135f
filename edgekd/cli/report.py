"""`edgekd report`: what is in a run and what was measured on it, in one file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.console import console
from edgekd.cli.options import Json
from edgekd.cli.tables import Table, size_text

__all__ = ["report"]


def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Runs to report on and compare. Default: the newest."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where to write it. Default: the run's own folder."),
    ] = None,
    json: Json = False,
) -> None:
    """Report on runs: one HTML file, Markdown and CSV.

    Shows what edgekd bench measured on every device, and explains it in words.
    """
    from edgekd.report import advise
    from edgekd.run import find_run
    from edgekd.steps.artefacts import exported_names
    from edgekd.steps.report import report_runs

    named = [find_run(name, console) for name in runs] if runs else [find_run(None, console)]
    found = list({run.folder.resolve(): run for run in named}.values())  # without duplicates
    story, written = report_runs(found, out, console)
    advice = advise(story)
    value = {"files": [str(path) for path in written], "advice": [asdict(one) for one in advice]}
    rows = [(str(path), size_text(path.stat().st_size)) for path in written]
    console.result(value, Table(("report", "size"), rows, right=(1,)))
    for one in advice:
        console.note(one.text)
    first = found[0]
    console.next_command(*(("predict", first.folder, "PICTURE") if exported_names(first) else ("export", first.folder)))
