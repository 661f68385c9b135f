"""Writing the report of one run or several: HTML, Markdown and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calibration.errors import UsageError
from calibration.files import write_bytes
from calibration.progress import Progress
from edgekd.report import Story, csv_report, gather, html_report, markdown_report
from edgekd.run import Run

__all__ = ["FORMATS", "report_runs"]

FORMATS = {"html": html_report, "md": markdown_report, "csv": csv_report}
"""File suffix to what writes it."""


def report_runs(runs: Sequence[Run], out: Path | None, progress: Progress) -> tuple[Story, list[Path]]:
    """Write report.html, report.md and report.csv into the folder `out`; without it into the run's own folder.

    What a run lacks is said in the report. Raises UsageError for several runs without `out`, FileError, DiskFullError.
    """
    if not runs:
        raise UsageError("A report needs a run", fix="Name one: edgekd report RUN")
    if out is None and len(runs) > 1:
        raise UsageError(f"A report of {len(runs)} runs belongs to none of them", fix="Give --out FOLDER")
    folder = runs[0].folder if out is None else out
    with progress.task("Writing the report"):
        story = gather(runs)
        written = []
        for suffix, render in FORMATS.items():
            path = folder / f"report.{suffix}"
            for stale in folder.glob(f".{path.name}.*.part"):  # of a report that was killed: it takes no lock
                stale.unlink(missing_ok=True)
            write_bytes(path, render(story).encode("utf-8", errors="replace"))
            written.append(path)
    for reported in story.runs:
        for line in reported.missing:
            progress.note(line)
    return story, written
