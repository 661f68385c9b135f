"""`edgekd check`: drift of every artefact and coverage of the calibration set, without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibration.errors import ArtefactError, EdgekdError, MissingRuntimeError
from edgekd.cli.console import console
from edgekd.cli.options import Json, RunName, Targets
from edgekd.cli.tables import Table, figure

if TYPE_CHECKING:
    from edgekd.steps.check import CheckResult
    from targets.drift import Drift

__all__ = ["check", "check_tables"]

_SHOWN = 5  # layers
_HEADINGS = {
    "abs_rel": "AbsRel\n↓",
    "abs_rel_aligned": "aligned\n↓",
    "within_5": "< 5 %\n↑",
    "within_1": "< 1 %\n↑",
    "scale_ratio": "scale\n→ 1",
    "rank_correlation": "rank\n↑",
    "abs_rel_edges": "edges\n↓",
}
"""Figures of `Drift`, in the order of the columns."""


def check(
    run: RunName = None,
    target: Targets = None,
    frames: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Pictures as the device will see them; used to measure only."),
    ] = None,
    json: Json = False,
) -> None:
    """Measure drift and coverage, without labels.

    Drift is how far an artefact's depth is from the fp32 model's and the teacher's: a proxy for accuracy.
    Coverage is whether the calibration set is good enough.
    """
    from edgekd.run import find_run
    from edgekd.steps.check import check_run

    found = find_run(run, console)
    result = check_run(found, tuple(target or ()), console, frames)
    console.result({"run": str(found.folder), **result.to_json()}, *check_tables(result))
    for row in result.rows:
        if row.reason is not None:
            console.note(f"{row.name}: {EdgekdError(row.reason, fix=row.fix or '')}")
    console.note(f"On {result.pictures}; drift is what building cost, not how accurate the depth is")
    for line in coverage_notes(result):
        console.note(line)
    if all(row.from_model is None for row in result.rows):
        failed = next(row for row in result.rows if row.reason is not None)
        kind = MissingRuntimeError if failed.missing else ArtefactError
        raise kind(f"No artefact was checked: {failed.reason}", fix=failed.fix or "")
    console.next_command("predict", found.folder, "PICTURE")


def check_tables(result: CheckResult) -> list[Table]:
    """Tables of drift from the fp32 model, drift from the teacher if it is a separate model, and weak layers."""
    tables = [
        _table("Against the fp32 model", [(row.name, row.from_model) for row in result.rows]),
        _table("Against the fp32 model, on the frames", [(row.name, row.on_frames) for row in result.rows]),
        _table("Against the teacher", [(row.name, row.from_teacher) for row in result.rows]),
        _layers(result),
    ]
    return [table for table in tables if table.rows]


def coverage_notes(result: CheckResult) -> list[str]:
    """Lines that say whether the calibration set is good enough."""
    lines = []
    if result.layers and not result.weak:
        lines.append(f"The calibration set covers all {len(result.layers)} layers")
    elif result.layers:
        found = ", ".join(f"{layer.layer} ({' and '.join(layer.weaknesses)})" for layer in result.weak[:3])
        more = f" and {len(result.weak) - 3} more" if len(result.weak) > 3 else ""
        lines.append(
            f"The calibration set does not cover {len(result.weak)} of {len(result.layers)} layers: {found}{more}"
        )
        if result.frames is None:
            lines.append("To see whether that matters, measure drift on your own camera's pictures: --frames FOLDER")
    if result.frames is not None:
        saturated = result.frames.saturated
        worst = max(range(len(saturated)), key=saturated.__getitem__)
        if saturated[worst] > 0:
            lines.append(f"The frames saturate {result.layers[worst].layer} most: {saturated[worst]:.1e} of its values")
        else:
            lines.append("The frames saturate no layer")
        agreeing = f"{result.frames.agreeing} of {len(saturated)} layers"
        lines.append(f"The set's verdict on its ranges holds on the frames for {agreeing}")
        lines += [
            f"{row.name} drifts {row.on_frames.abs_rel:.4f} on the frames and {row.from_model.abs_rel:.4f} on the set"
            for row in result.rows
            if row.on_frames is not None and row.from_model is not None and row.name.endswith("int8")
        ]
    return lines


def _layers(result: CheckResult) -> Table:
    """The layers with the most weaknesses."""
    from targets.coverage import GROWING, UNCOVERED

    def badness(index: int) -> float:
        layer = result.layers[index]
        return (layer.expected or 0) / UNCOVERED + max(layer.growth, 0) / GROWING

    order = sorted(range(len(result.layers)), key=badness, reverse=True)[:_SHOWN]
    on_frames = result.frames.saturated if result.frames is not None else None
    rows = [
        (
            layer.layer,
            f"{layer.low:.3g} to {layer.high:.3g}",
            _share(layer.expected),
            _share(layer.saturated),
            *(() if on_frames is None else (_share(on_frames[index]),)),
            f"{layer.growth:+.0%}",
            "; ".join(layer.weaknesses),
        )
        for index, layer in ((index, result.layers[index]) for index in order)
    ]
    frames = () if on_frames is None else ("frames",)
    headings = ("layer", "range of\nits input", "beyond it:\nexpected", "held out", *frames, "growth", "")
    title = f"Coverage of the calibration set, the {len(rows)} least covered of {len(result.layers)} layers"
    caption = "expected: from the network's stored statistics; growth: of the range from the other half of the pictures"
    return Table(headings, rows, right=range(1, len(headings) - 1), title=title, caption=caption)


def _share(value: float | None) -> str:
    return "-" if value is None else "0" if value == 0 else f"{value:.0e}"


def _table(title: str, rows: list[tuple[str, Drift | None]]) -> Table:
    cells = [
        (name, *(figure(getattr(drift, figure_name)) for figure_name in _HEADINGS))
        for name, drift in rows
        if drift is not None
    ]
    return Table(("artefact", *_HEADINGS.values()), cells, right=range(1, len(_HEADINGS) + 1), title=title)
