"""A bench of a run: what is kept of it, and accuracy of the same files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration.progress import Quiet
from edgekd.bench import BenchResult, BenchSettings, Scoring
from edgekd.evaluate import get_protocol, open_dataset
from edgekd.run import Run
from edgekd.steps.bench import bench_run

QUICK = BenchSettings(minimum=50, seconds=0)


def test_the_result_is_kept_in_the_run_and_recorded(exported_run: Path) -> None:
    result, path = bench_run(Run.open(exported_run), (), QUICK, Quiet())
    assert [row.name for row in result.rows] == ["onnxruntime-fp32", "onnxruntime-int8"]
    assert all(row.latency is not None and row.latency.p50 > 0 for row in result.rows)
    assert BenchResult.read(path).rows[0].name == "onnxruntime-fp32"
    run = Run.open(exported_run)
    run.verify(path)
    (step,) = [record for name, record in run.manifest.steps.items() if name.startswith("bench ")]
    assert step.asked["minimum"] == 50


def test_accuracy_is_that_of_the_benched_artefact(exported_run: Path) -> None:
    from small_network import SPEC, pictures, reference_depth, small_network

    data = Path("data")
    for folder in ("rgb", "depth"):
        (data / folder).mkdir(parents=True)
    for number, picture in enumerate(pictures(3, seed=9)):
        Image.fromarray(picture).save(data / "rgb" / f"{number}.png")
        truth = reference_depth(small_network(), SPEC.framing.image(picture)[None])[0]
        np.save(data / "depth" / f"{number}.npy", truth)
    scoring = Scoring(open_dataset("data"), get_protocol("plain"))
    result, _ = bench_run(Run.open(exported_run), ("onnxruntime",), QUICK, Quiet(), scoring=scoring)
    fp32, int8 = (row.evaluation for row in result.rows)
    assert fp32 is not None and int8 is not None
    # The truth is the model's own depth, so fp32 is perfect and int8 is what rounding costs.
    assert fp32.means["raw"]["absrel"] == pytest.approx(0, abs=1e-4)
    assert 1e-4 < int8.means["raw"]["absrel"] < 0.05
