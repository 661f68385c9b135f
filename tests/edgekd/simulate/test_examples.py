"""The scripts of examples/ that simulate: run as a person runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_teacher_goes_on_only_from_a_checkpoint_of_the_same_training(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="a teacher is trained with torch")
    pytest.importorskip("embreex", reason="simulating rooms needs embreex")
    work, out = tmp_path / "work", tmp_path / "teacher.safetensors"
    few = ("--images", 4, "--held-out", 2, "--batch", 2, "--size", 32, 32, "--workers", 1, "--device", "cpu")
    teacher = ("rooms_teacher/train.py", "--out", out, "--work", work, *few)
    first = run(*teacher, "--steps", 2)
    assert first.returncode == 0, first.stderr
    weights = out.read_bytes()
    again = run(*teacher, "--steps", 2)
    assert "going on from step 2" in again.stdout and out.read_bytes() == weights
    assert json.loads(out.with_suffix(".json").read_text())["steps"] == 2

    for change, named in ((("--steps", 2, "--learning-rate", 0.1), "learning rate"),
                          (("--steps", 3, "--size", 64, 32), "size, steps")):  # fmt: skip
        changed = run(*teacher, *change)
        assert changed.returncode == 1 and "Traceback" not in changed.stderr
        assert f"was made with another {named}. " in changed.stderr.splitlines()[-1]

    whole = (work / "checkpoint.pt").read_bytes()
    (work / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    damaged = run(*teacher, "--steps", 2)
    assert damaged.returncode == 1 and "Traceback" not in damaged.stderr
    assert damaged.stderr.splitlines()[-1].startswith(f"Error: The checkpoint {work / 'checkpoint.pt'} is damaged")
    assert not list(work.glob(".*.part"))
