"""The table of all pairs, as the script prints it and the README shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the settings that tell runs apart are those of distillation")
pytest.importorskip("fcntl", reason="runs that processes share are locked as POSIX does it")

PAPER = Path(__file__).parents[1] / "examples" / "paper"


def summary(*arguments: object) -> str:
    command = [sys.executable, str(PAPER / "summary.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def line(printed: str, heading: str, row: str) -> list[str]:
    """The cells of `row` in the table under `heading`."""
    table = next(part for part in printed.split("\n\n") if part.startswith(f"| {heading} |"))
    return [cell.strip() for text in table.splitlines() if f"| {row} |" in text for cell in text.split("|")[2:-1]]


def test_the_readme_shows_what_the_script_prints() -> None:
    assert summary().rstrip() in (PAPER / "README.md").read_text()


def test_means_numbers_of_seeds_and_gaps(tmp_path: Path) -> None:
    pair = {
        "world": "stand-in", "teacher": "8dbb9b08" + "0" * 56, "held_out": "39b24f0000000000", "student": "hu-resnet34",
        "rate": 3e-3, "transformed": 0.5, "steps": 400, "batch": 8,
    }  # fmt: skip

    def run(row: str, seed: int, delta1: float, **other: object) -> str:
        return json.dumps(pair | {"row": row, "seed": seed, "agreement": 0.5, "delta1": delta1, "absrel": 0.2} | other)

    runs = [
        json.dumps({"row": "teacher", "agreement": 1.0, "delta1": 0.7, "absrel": 0.1}
                   | {name: pair[name] for name in ("world", "teacher", "held_out")}),
        run("plain", 0, 0.40), run("plain", 1, 0.44), run("plain", 2, 0.48),
        run("same", 0, 0.50), run("same", 1, 0.54), run("same", 2, 0.70),
        run("both", 0, 0.45), run("both", 1, 0.51),
        run("mixing", 0, 0.9, steps=200), run("noise", 0, 0.9, rate=1e-3), run("noise", 0, 0.9, held_out="ffffff"),
        run("ours", 0, 0.9, **{"weight of features": 1.0}),
    ]  # fmt: skip
    (tmp_path / "runs.jsonl").write_text("\n".join(runs))
    printed = summary("--runs", tmp_path / "runs.jsonl")

    assert line(printed, "AbsRel / delta1", "the teacher itself") == ["0.100 / 0.700"]
    assert line(printed, "AbsRel / delta1", "plain distillation on simulated images") == ["0.200 / 0.440"]
    both = "mixing and transformation, the paper's method"
    assert line(printed, "AbsRel / delta1", both) == ["0.200 / 0.480 (2)"]
    # Over seeds 0 and 1, which all three rows have: (0.48 - 0.42) / (0.52 - 0.42).
    assert line(printed, "gap closed, delta1", both) == ["0.60 (2)"]
    for of_other_settings in ("mixing", "random noise", "features"):
        assert not line(printed, "AbsRel / delta1", of_other_settings)
    assert "gap closed, agreement" not in printed, "0.5 and 0.5: there is no gap"


def test_runs_of_rows_that_are_no_more_do_not_stop_a_table() -> None:
    # In a process of its own: other folders of examples/ have modules of the same names, and one adds a look.
    asked = """
from argparse import Namespace
from pathlib import Path
from finished import Finished
from table import _is_of_table
runs = [run for name in ("runs", "runs-earlier") for run in Finished(Path(f"{name}.jsonl")).rows()]
assert any(run["row"] == "half" for run in runs), "a row of earlier tables"
asked = {"world": "stand-in", "student": "slim-l", "steps": 200, "batch": 16}
print(*sorted({run["row"] for run in runs if _is_of_table(run, asked, range(3), Namespace(unlabelled=None))}))
"""
    done = subprocess.run([sys.executable, "-c", asked], cwd=PAPER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"plain", "ours"} <= set(done.stdout.split()) and "half" not in done.stdout.split()
