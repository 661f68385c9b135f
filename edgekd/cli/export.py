"""`edgekd export`: artefacts for the runtimes of a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekd.cli.console import console
from edgekd.cli.options import Engine, Force, Json, Precisions, RunName, Targets, engine_options, repeated
from edgekd.cli.tables import Table, figure, size_text

if TYPE_CHECKING:
    from edgekd.steps.export import Exported, ExportResult

__all__ = ["export", "export_tables"]


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
        str | None, typer.Option(metavar="USER@BOARD", help="Build, test and measure on a board over SSH.")
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Build artefacts for the runtimes of a device.

    By default fp32 and int8 for every target that can build here; the others are reported.
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
    console.result(_json(result), *export_tables(result))
    for exported in result.exported:
        if exported.artefact.device_command is not None:
            console.note(f"{exported.artefact.name}: run on the device: {exported.artefact.device_command}")
    result.raise_failures(settings)
    artefacts = [exported.artefact for exported in result.exported]
    if artefacts and not any(artefact.can_run_here for artefact in artefacts):
        chosen = repeated("--target", dict.fromkeys(one.target for one in artefacts))
        console.next_command("bundle", found.folder, *chosen)
    else:
        console.next_command("bench", found.folder)


def export_tables(result: ExportResult) -> list[Table]:
    """Tables of the artefacts with size, latency and drift, and of the layers that int8 kept in float."""
    if not result.exported:
        return []
    headings = ("artefact", "size", "latency\n~ ms", "drift\n↓", "< 5 %\n↑", "< 1 %\n↑", "scale\n→ 1", "")
    measured: dict[str, list[str]] = {}
    for exported in result.exported:
        if exported.artefact.drift_on:
            measured.setdefault(exported.artefact.drift_on, []).append(exported.artefact.name)
    drift_on = [where if len(measured) == 1 else f"{where} ({', '.join(names)})" for where, names in measured.items()]
    caption = f"drift: mean relative difference of depth from fp32, on {'; '.join(drift_on)}" if drift_on else ""
    rows = [_row(exported) for exported in result.exported]
    return [Table(headings, rows, right=range(1, 7), caption=caption), *_float_layers(result)]


def _row(exported: Exported) -> tuple[str, ...]:
    artefact = exported.artefact
    figures = [figure(artefact.drift.get(name)) for name in ("within_5", "within_1", "scale_ratio")]
    drift = artefact.drift.get("abs_rel")
    latency = "-" if exported.milliseconds is None else f"{exported.milliseconds:.2f}"
    remarks = ["built" if exported.fresh else "up to date"]
    if exported.over_budget:
        remarks.append("OVER BUDGET")
    shown = "-" if drift is None else f"{drift:.4f}"
    return (artefact.name, size_text(exported.size), latency, shown, *figures, "; ".join(remarks))


def _float_layers(result: ExportResult) -> list[Table]:
    if not result.float_layers:
        return []
    rows = [
        (
            layer.name,
            "-" if layer.damage is None else f"{layer.damage:.4f}",
            f"{layer.share:.1%}",
            f"{layer.milliseconds:+.2f}",
        )
        for layer in result.float_layers
    ]
    headings = ("kept in float", "drift with it\nalone in int8", "of the\nmultiplications", "costs\nms")
    caption = "the same for every target; milliseconds from ONNX Runtime on this machine, one thread"
    return [Table(headings, rows, right=(1, 2, 3), caption=caption)]


def _json(result: ExportResult) -> dict[str, Any]:
    exported = [
        {
            **exported.artefact.to_json(),
            "folder": str(exported.artefact.folder),
            "size": exported.size,
            "fresh": exported.fresh,
            "over_budget": exported.over_budget,
            "milliseconds": exported.milliseconds,
        }
        for exported in result.exported
    ]
    left_out = [{"name": left.name, "reason": left.reason, "fix": left.fix} for left in result.left_out]
    float_layers = [layer.to_json() for layer in result.float_layers]
    return {"exported": exported, "left_out": left_out, "float_layers": float_layers}
