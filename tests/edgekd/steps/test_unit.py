"""Depth of unknown unit: every output that shows depth says so."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration.progress import Quiet
from edgekd.cli.app import run
from edgekd.run import Run
from edgekd.steps.bundle import BundleSettings, bundle_run

pytest.importorskip("onnxruntime", reason="the artefacts of these tests are run with onnxruntime")


@pytest.fixture(params=[True, False], ids=["metres", "ratios"])
def metric(request: pytest.FixtureRequest, exported_run: Path) -> bool:
    """Whether the teacher of the exported run gives metres, as its record says."""
    opened = Run.open(exported_run)
    assert opened.manifest.teacher is not None
    with opened.lock():
        opened.note_teacher(replace(opened.manifest.teacher, metric=request.param))
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    Image.fromarray(picture).save("room.png")
    return bool(request.param)


def test_on_the_screen_and_in_the_report(metric: bool, exported_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", str(exported_run), "room.png"]) == 0
    assert ("The depth of small has no known unit" in capsys.readouterr().err) is not metric
    assert run(["bench", str(exported_run), "--target", "onnxruntime", "--seconds", "0.1"]) == 0
    assert run(["report", str(exported_run), "--out", "report"]) == 0
    for name in ("report.html", "report.md"):
        assert ("only ratios are meaningful" in Path("report", name).read_text()) is not metric


def test_in_a_bundle(metric: bool, exported_run: Path) -> None:
    written = bundle_run(Run.open(exported_run), BundleSettings(("onnxruntime",), ("fp32",)), Quiet())
    assert json.loads((written.folder / "manifest.json").read_text())["metric"] is metric
    text = (written.folder / "README.md").read_text()
    assert (f"depth in {'metres' if metric else 'an unknown unit'} from one picture" in text) and (
        "only ratios of depth are meaningful" in text
    ) is not metric
    done = subprocess.run(
        [sys.executable, written.folder / "run.py", "room.png", "--seconds", "0"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("Depth has no known unit, though labelled metres here" in done.stdout + done.stderr) is not metric
