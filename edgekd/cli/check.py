"""`edgekd check`: drift of every artefact, without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekd.cli.console import console
from edgekd.cli.options import Json, RunName, Targets
from edgekd.cli.tables import Table, figure

if TYPE_CHECKING:
    from edgekd.steps.check import CheckResult
    from targets.drift import Drift

__all__ = ["check", "check_tables"]

_FIGURES = ("abs_rel", "abs_rel_aligned", "within_5", "within_1", "scale_ratio", "rank_correlation", "abs_rel_edges")
_HEADINGS = ("AbsRel\n↓", "aligned\n↓", "< 5 %\n↑", "< 1 %\n↑", "scale\n→ 1", "rank\n↑", "edges\n↓")


def check(run: RunName = None, target: Targets = None, json: Json = False) -> None:
    """Measure the drift of every artefact, without labels.

    Drift is how far its depth lies from the fp32 model's and the teacher's: a proxy for accuracy.
    """
    from edgekd.run import find_run
    from edgekd.steps.check import check_run

    found = find_run(run, console)
    result = check_run(found, tuple(target or ()), console)
    console.result({"run": str(found.folder), **result.to_json()}, *check_tables(result))
    for row in result.rows:
        if row.reason is not None:
            console.note(f"{row.name}: {row.reason}. {row.fix}.")
    console.note(f"On {result.pictures}; drift says what building cost, not how accurate the depth is")
    console.next_command("predict", found.folder, "PICTURE")


def check_tables(result: CheckResult) -> list[Table]:
    """Drift from the fp32 model, and from the teacher where there is one beside it."""
    tables = [
        _table("Against the fp32 model", [(row.name, row.from_model) for row in result.rows]),
        _table("Against the teacher", [(row.name, row.from_teacher) for row in result.rows]),
    ]
    return [table for table in tables if table.rows]


def _table(title: str, rows: list[tuple[str, Drift | None]]) -> Table:
    cells = [
        (name, *(figure(getattr(drift, figure_name)) for figure_name in _FIGURES))
        for name, drift in rows
        if drift is not None
    ]
    return Table(("artefact", *_HEADINGS), cells, right=range(1, len(_HEADINGS) + 1), title=title)
