"""Writes the report on one or several runs: HTML, Markdown and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calibration.errors import UsageError
from calibration.files import remove_abandoned, write_bytes
from calibration.progress import Progress
from edgekd.report import Story, csv_report, gather, html_report, markdown_report
from edgekd.run import Run

__all__ = ["FORMATS", "report_runs"]

FORMATS = {"html": html_report, "md": markdown_report, "csv": csv_report}
"""File suffix to the function that renders it."""


def report_runs(runs: Sequence[Run], out: Path | None, progress: Progress) -> tuple[Story, list[Path]]:
    """Write report.html, report.md and report.csv into the folder `out`, by default the run's own folder.

    The report says what a run lacks. Raises UsageError for several runs without `out`, FileError, DiskFullError.
    """
    if not runs:
        raise UsageError("A report needs a run", fix="Pass one: edgekd report RUN")
    if out is None and len(runs) > 1:
        raise UsageError(f"A report on {len(runs)} runs needs a folder of its own", fix="Pass --out FOLDER")
    folder = runs[0].folder if out is None else out
    with progress.task("Writing the report"):
        story = gather(runs)
        remove_abandoned(folder, (f"report.{suffix}" for suffix in FORMATS))
        written = []
        for suffix, render in FORMATS.items():
            path = folder / f"report.{suffix}"
            write_bytes(path, render(story).encode("utf-8", errors="replace"))
            written.append(path)
    for reported in story.runs:
        for line in reported.missing:
            progress.note(line)
    return story, written
