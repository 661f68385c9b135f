"""`edgekd export`: artefacts for the runtimes of a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekd.cli.console import console
from edgekd.cli.options import Engine, Force, Json, Precisions, RunName, Targets, engine_options
from edgekd.cli.tables import Table, figure, size_text

if TYPE_CHECKING:
    from edgekd.steps.export import Exported, ExportResult

__all__ = ["export", "export_table"]


def export(
    run: RunName = None,
    target: Targets = None,
    precision: Precisions = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="The runtime's device, such as cpu or cuda.")
    ] = None,
    max_drift: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Budget for the mean relative depth error against fp32, such as 0.02."),
    ] = None,
    engine: Engine = None,
    on: Annotated[
        str | None, typer.Option(metavar="USER@BOARD", help="Build, test and measure on a board, over ssh.")
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Build artefacts for the runtimes of a device.

    By default fp32 and int8 for every target that can build here; what cannot is said.
    """
    from edgekd.run import find_run
    from edgekd.steps.export import ExportSettings, export_run

    settings = ExportSettings(
        tuple(target or ()), tuple(precision or ()), device, max_drift, force, engine_options(engine)
    )
    found = find_run(run, console)
    if on is not None:
        from edgekd.cli.on_board import export_on_board

        export_on_board(found, on, settings)
        return
    result = export_run(found, settings, console)
    console.result(_json(result), export_table(result))
    for exported in result.exported:
        if exported.artefact.device_command is not None:
            console.note(f"{exported.artefact.name}, on the device: {exported.artefact.device_command}")
    result.raise_failures(settings)
    console.next_command("bench", found.folder)


def export_table(result: ExportResult) -> Table:
    """The artefacts with size and drift."""
    headings = ("artefact", "size", "drift", "< 5 %", "< 1 %", "scale", "")
    drift_on = next((e.artefact.drift_on for e in result.exported if e.artefact.drift_on), None)
    caption = f"drift: mean relative difference of depth from fp32, on {drift_on}" if drift_on else ""
    return Table(headings, [_row(exported) for exported in result.exported], right=(1, 2, 3, 4, 5), caption=caption)


def _row(exported: Exported) -> tuple[str, ...]:
    artefact = exported.artefact
    figures = [figure(artefact.drift.get(name)) for name in ("abs_rel", "within_5", "within_1", "scale_ratio")]
    remarks = ["built" if exported.fresh else "up to date"]
    if exported.over_budget:
        remarks.append("OVER BUDGET")
    return (artefact.name, size_text(exported.size), *figures, "; ".join(remarks))


def _json(result: ExportResult) -> dict[str, Any]:
    exported = [
        {
            **exported.artefact.to_json(),
            "folder": str(exported.artefact.folder),
            "size": exported.size,
            "fresh": exported.fresh,
            "over_budget": exported.over_budget,
        }
        for exported in result.exported
    ]
    left_out = [{"name": left.name, "reason": left.reason, "fix": left.fix} for left in result.left_out]
    return {"exported": exported, "left_out": left_out}
