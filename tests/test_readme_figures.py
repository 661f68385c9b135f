"""The figures of the READMEs' tables stand in the files that the commands named beside them have written."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "examples/demo"
MEASURED = {"slim-l": ROOT / "examples/report/report.csv", "fastdepth": ROOT / "examples/fastdepth/fastdepth.csv"}
Row = dict[str, str]


def _digits(column: str, digits: int) -> Callable[[Row], str]:
    return lambda row: f"{float(row[column]):.{digits}f}" if row[column] else ""


def _within(row: Row) -> str:
    if row["precision"] == "fp32":  # what the others are compared with
        return ""
    return " / ".join(_digits(f"drift_within_{percent}", 3)(row) for percent in (5, 1))


COLUMNS: dict[str, Callable[[Row], str]] = {
    "MB": _digits("size_mb", 2), "p50 ms": _digits("p50_ms", 2), "p99 ms": _digits("p99_ms", 2),
    "grade": lambda row: row["grade"], "within 5 % / 1 % of float": _within, "within 5 % / 1 %": _within,
    "AbsRel": _digits("absrel", 3), "delta1": _digits("delta1", 3), "RMSE m": _digits("rmse_m", 3),
    "scale": _digits("scale", 3),
}  # fmt: skip


def _tables(readme: Path) -> Iterator[list[Row]]:
    """The tables of artefacts with their latencies: a row is the cell under each heading."""
    for block in readme.read_text().split("\n\n"):
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        if lines[0][:3] == ["artefact", "MB", "p50 ms"]:
            yield [dict(zip(lines[0], cells, strict=True)) for cells in lines[2:]]


def _measured(network: str) -> dict[str, Row]:
    """What was measured of each artefact, on real pairs where it has an accuracy."""
    with MEASURED[network].open() as stream:
        return {row["artefact"]: row for row in csv.DictReader(stream) if row["dataset"] != "held-out"}


@pytest.mark.parametrize("readme", ["README.md", "examples/fastdepth/README.md"])
def test_tables_of_artefacts_show_what_was_measured(readme: str) -> None:
    tables = list(_tables(ROOT / readme))
    assert len(tables) == 2
    for network, table in zip(MEASURED, tables, strict=True):
        measured = _measured(network)
        for shown in table:
            names = shown.pop("artefact").split(", ")
            for heading, cell in shown.items():
                of_each = dict.fromkeys(COLUMNS[heading](measured[name]) for name in names)
                assert cell == ", ".join(of_each), (network, names, heading)


def _cells(name: str) -> list[list[str]]:
    """The cells behind `name` in the README's text tables."""
    lines = (ROOT / "README.md").read_text().splitlines()
    return [re.split(r"\s{2,}", line.strip())[1:] for line in lines if line.strip().startswith(f"{name}  ")]


def test_the_tables_of_the_demo_are_those_of_a_demo() -> None:
    for row in json.loads((DEMO / "accuracy.json").read_text()):
        figures = [row[figure] for figure in ("absrel", "delta1", "agreement")]
        assert _cells(row["name"]) == [["-" if figure is None else f"{figure:.3f}" for figure in figures]]
    columns = [COLUMNS[heading] for heading in ("MB", "p50 ms", "p99 ms", "grade")]
    columns += [_digits("drift_within_1", 3), *(COLUMNS[heading] for heading in ("AbsRel", "delta1", "scale"))]
    with (DEMO / "demo.csv").open() as stream:
        for row in csv.DictReader(stream):
            (shown,) = _cells(row["artefact"])
            assert [cell.rstrip("*") for cell in shown] == [column(row) or "-" for column in columns]  # * is the best
