"""How well the calibration pictures cover what the network will see: from the set, and from other verbs' files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgekd.report.gather import ReportedRun
from edgekd.report.markup import Child, Element, quiet, tag
from edgekd.report.tables import table

__all__ = ["coverage_parts"]

_MOST_ROWS = 60


def coverage_parts(reported: ReportedRun) -> Iterator[Element]:
    """What the pictures alone show, then every coverage file of the run as it is."""
    coverage = reported.coverage
    if coverage is None:
        yield quiet("This run has no readable calibration set.")
    else:
        rows: list[Sequence[Child]] = [
            [
                "pictures",
                f"{coverage.count}, {coverage.distinct} of them different, {coverage.flat} of a single colour",
            ],
            ["brightness", f"{coverage.darkest:.0f} to {coverage.brightest:.0f} of 255, picture means"],
            ["neighbouring pixels", f"correlated {coverage.smoothness:.2f} (real pictures exceed 0.8, noise is 0)"],
            ["remarks", "; ".join(coverage.remarks()) or "none"],
        ]
        yield table(["of the set", ""], rows, reported.calibration)
    for path, value in reported.coverage_files.items():
        yield tag("h4", path)
        yield from _shown(value)
    if not reported.coverage_files:
        yield quiet("Coverage of each layer's range was not measured in this run: edgekd check.")


def _shown(value: Any) -> Iterator[Element]:
    """JSON of unknown structure: single values as one table, lists of records as a table each."""
    if not isinstance(value, Mapping):
        value = {"": value}
    singles = [[name, _cell(item)] for name, item in value.items() if not isinstance(item, (list, dict))]
    if singles:
        yield table(["figure", ""], singles)
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            records = [
                {"": key, **part} if isinstance(part, Mapping) else {"": key, "value": part}
                for key, part in item.items()
            ]
        elif isinstance(item, list) and item and all(isinstance(part, Mapping) for part in item):
            records = [dict(part) for part in item]
        else:
            continue
        columns = list(dict.fromkeys(column for record in records for column in record))
        if not columns:  # records without a field
            continue
        rows = [[_cell(record.get(column)) for column in columns] for record in records[:_MOST_ROWS]]
        left = f" (the first {_MOST_ROWS} of {len(records)})" if len(records) > _MOST_ROWS else ""
        yield table(columns, rows, f"{name}{left}")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)
