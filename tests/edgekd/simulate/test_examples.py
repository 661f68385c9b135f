"""The scripts of examples/ that simulate, run as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
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
    assert "Resuming from step 2" in again.stdout and out.read_bytes() == weights
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


def test_three_pictures_are_enough_to_count_duplicates() -> None:
    pytest.importorskip("embreex", reason="simulating rooms needs embreex")
    done = run("simulate/variety.py", 3, "simulated", 60)
    assert done.returncode == 0 and "of 3 pictures" in done.stdout, done.stderr
    alone = run("simulate/variety.py", 1)
    assert alone.returncode == 2 and "2 or more" in alone.stderr


def test_a_catalogue_may_leave_out_what_a_model_is_for(tmp_path: Path) -> None:
    pytest.importorskip("trimesh", reason="meshes are read by trimesh")
    sizes = "width#{0}=50\ndepth#{0}=50\nheight#{0}=90\n"
    listed = "id#1=a#stool\nmodel#1=/m/a.obj\n" + sizes.format(1) + "id#2=b\ncategory#2=Living\n" + sizes.format(2)
    with zipfile.ZipFile(tmp_path / "a.sh3f", "w") as catalogue:
        catalogue.writestr("PluginFurnitureCatalog.properties", listed)
        catalogue.writestr("m/a.obj", "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 .5\nf 1 2 3\nf 1 3 4\n")
    done = run("simulate/sweet_home.py", tmp_path, tmp_path / "made")
    assert done.returncode == 0 and "1 converted" in done.stdout and "1 without a model" in done.stdout, done.stderr
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["a_stool.glb"]
