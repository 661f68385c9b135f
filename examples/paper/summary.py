"""Print all pairs of teacher and student in one table like the paper's, and the gap that each way of teaching closes.

    python examples/paper/summary.py                          # from the runs kept beside this script
    python examples/paper/summary.py --runs WORK/runs.jsonl   # from runs of table.py

A cell is the mean of three seeds; where there are fewer, their number stands behind it in brackets.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controls import settings_of
from figures import SHOWN, TEACHER, Figures, compared_seeds, gap_closed, mean
from finished import Finished

_SEEDS = 3


@dataclass(frozen=True)
class Pair:
    """A teacher, a student and how long it learns: what distinguishes the runs of a column from all others."""

    title: str
    world: str
    teacher: str  # the first digits of its digest
    held_out: str  # likewise, of the pictures it is measured on
    student: str
    steps: int
    batch: int
    rate: float
    precision: str = "auto"

    def has(self, run: Mapping[str, Any]) -> bool:
        settings = {name: getattr(self, name) for name in ("world", "student", "steps", "batch", "rate", "precision")}
        of_pair = self.is_taught_by(run) and run["held_out"].startswith(self.held_out)
        return of_pair and (settings | settings_of(run["row"])).items() <= run.items()

    def is_taught_by(self, run: Mapping[str, Any]) -> bool:
        """Whether a run is of this teacher, in this world."""
        return bool(run["world"] == self.world and run["teacher"].startswith(self.teacher))


PAIRS = (
    Pair("Hu R34 → R34, small", "stand-in", "8dbb9b08", "39b24f", "hu-resnet34", 400, 8, 3e-3),
    Pair("Hu R34 → MBv2, small", "stand-in", "8dbb9b08", "39b24f", "hu-mobilenetv2", 400, 8, 3e-3),
    Pair("FCRN R50 → R18, small", "stand-in", "7edbfe0d", "39b24f", "fcrn-resnet18", 400, 8, 3e-3, "bfloat16"),
    Pair("rooms → mobile-m, 400 steps", "stand-in", "9e07ca60", "29fc6a", "mobile-m", 400, 16, 1e-2),
    Pair("rooms → mobile-m", "stand-in", "9e07ca60", "c314e7", "mobile-m", 1000, 16, 1e-2),
    Pair("rooms → mobile-m, 4,000 steps", "stand-in", "9e07ca60", "c314e7", "mobile-m", 4000, 16, 1e-2),
    Pair("FastDepth → mobile-m", "real", "6275c23f", "44c412", "mobile-m", 1000, 16, 1e-2),
    Pair("FastDepth → slim-l", "real", "6275c23f", "44c412", "slim-l", 200, 16, 1e-3),
)

Columns = list[tuple[Pair, Figures]]

ROWS = {
    TEACHER: "the teacher itself",
    "same": "unlabelled pictures of the teacher's own domain",
    "other": "unlabelled pictures of another domain",
    "noise": "random noise",
    "plain": "plain distillation on simulated images",
    "plain-6x": "the same with six times as many images",
    "batch": "teacher's BatchNorm by batch statistics, mixed",
    "accepted": "images accepted by the statistics",
    "mixing": "mixing",
    "transform": "transformation",
    "both": "mixing and transformation, the paper's method",
    "features": "features",
    "ours": "**mixing, transformation (of half) and features**",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path(__file__).with_name("runs.jsonl"), help="of table.py")
    arguments = parser.parse_args()
    if not arguments.runs.is_file():
        parser.error(f"{arguments.runs} not found: table.py writes it")
    runs = Finished(arguments.runs).rows()
    columns = [(pair, _figures_of(pair, runs)) for pair in PAIRS]
    columns = [(pair, figures) for pair, figures in columns if figures.keys() - {TEACHER}]
    if not columns:
        parser.error(f"{arguments.runs} holds no runs of the pairs in this script (teacher, pictures and settings)")
    titles = [pair.title for pair, _ in columns]
    students = [row for row in ROWS if row != TEACHER]
    _table("AbsRel / delta1", titles, _cells(columns, ROWS, ("absrel", "delta1")))
    _table("agreement with the teacher", titles, _cells(columns, students, ("agreement",)))
    for key in ("delta1", "agreement"):
        _table(f"gap closed, {key}", titles, _gaps(columns, students, key))
    for pair, _ in columns:
        print(
            f"- {pair.title}: teacher {pair.teacher}, {pair.steps} steps of {pair.batch}, learning rate {pair.rate:g}"
        )


def _figures_of(pair: Pair, runs: list[dict[str, Any]]) -> Figures:
    figures: dict[str, dict[int, dict[str, float]]] = {}
    for run in runs:
        if pair.is_taught_by(run) if run["row"] == TEACHER else pair.has(run):
            figures.setdefault(run["row"], {})[run.get("seed", 0)] = {key: run[key] for key in SHOWN}
    return figures


def _cells(columns: Columns, rows: Iterable[str], keys: tuple[str, ...]) -> dict[str, list[str]]:
    def cell(figures: Figures, row: str) -> str:
        found = figures.get(row, {})
        if not found:
            return ""
        text = " / ".join(f"{mean(run[key] for run in found.values()):.3f}" for key in keys)
        return text if row == TEACHER else _with_seeds(text, len(found))

    return _filled(columns, rows, cell)


def _gaps(columns: Columns, rows: Iterable[str], key: str) -> dict[str, list[str]]:
    def cell(figures: Figures, row: str) -> str:
        text = gap_closed(figures, row, key)
        return _with_seeds(text, len(compared_seeds(figures, row))) if text else ""

    return _filled(columns, rows, cell)


def _with_seeds(text: str, seeds: int) -> str:
    return text if seeds >= _SEEDS else f"{text} ({seeds})"


def _filled(columns: Columns, rows: Iterable[str], cell: Callable[[Figures, str], str]) -> dict[str, list[str]]:
    """Cells by row; rows without any are left out."""
    cells = {row: [cell(figures, row) for _, figures in columns] for row in rows}
    return {row: found for row, found in cells.items() if any(found)}


def _table(heading: str, titles: list[str], rows: dict[str, list[str]]) -> None:
    if not rows:
        return
    print(f"| {heading} | {' | '.join(titles)} |")
    print(f"| --- |{' --- |' * len(titles)}")
    for row, cells in rows.items():
        print(f"| {ROWS[row]} | {' | '.join(cells)} |")
    print()


if __name__ == "__main__":
    main()
