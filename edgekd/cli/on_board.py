"""`edgekd export --on`: exports on a board and shows the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from calibration.errors import UsageError
from edgekd.cli.console import console
from edgekd.cli.tables import Table

if TYPE_CHECKING:
    from edgekd.remote import Deployment
    from edgekd.run import Run
    from edgekd.steps.export import ExportSettings

__all__ = ["export_on_board"]


def export_on_board(run: Run, address: str, asked: ExportSettings) -> None:
    """Export on the board and show its self-tests and latencies."""
    from edgekd.steps.bundle import BundleSettings
    from edgekd.steps.on_board import export_on

    if asked.device is not None or asked.max_drift is not None or asked.force:
        raise UsageError(
            "--device, --max-drift and --force are for exports on this machine",
            fix="Omit them; the bundle's self-test has its own tolerance",
        )
    found = export_on(run, address, BundleSettings(asked.targets, asked.precisions, engine=asked.engine), console)
    console.result({**found.result, "kept": str(found.kept), "there": found.there}, _table(found))
    console.note(f"On {found.address}: {found.there}; saved here to {found.kept}")
    console.next_command("check", run.folder)


def _table(found: Deployment) -> Table:
    rows = [
        (
            row.precision,
            f"{row.error:.3%}",
            *(f"{milliseconds:.2f}" for milliseconds in (row.p50_ms, row.p90_ms, row.p99_ms)),
            row.runtime,
        )
        for row in found.tested
    ]
    caption = f"{found.machine}; self-test: mean relative difference of depth from fp32"
    headings = ("precision", "self-test", "p50 ms", "p90 ms", "p99 ms", "runtime")
    return Table(headings, rows, right=(1, 2, 3, 4), caption=caption)
