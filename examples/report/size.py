"""How long a report of 5 artefacts and 100 scored frames takes, and how large it is.

    python examples/report/size.py

The run is made of noise, in a temporary folder: noise gives the largest JPEG files. The aim: 20 s, 5 MB.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from calibration.images import CalibrationSet
from calibration.progress import Quiet
from edgekd.bench.conditions import read_conditions, summarise
from edgekd.bench.gallery import Gallery, Shown
from edgekd.bench.grade import grade
from edgekd.bench.latency import Latency, Measured
from edgekd.bench.machine import describe_machine
from edgekd.bench.result import BenchResult, BenchRow
from edgekd.bench.timing import summarise_times
from edgekd.evaluate import DepthFrame, evaluate, get_protocol
from edgekd.run import Run
from edgekd.steps.report import report_runs
from targets.input import Framing, InputSpec

SIZE = 224
NAMES = ("onnxruntime-fp32", "onnxruntime-int8", "openvino-fp32", "openvino-fp16", "openvino-int8")
GENERATOR = np.random.default_rng(0)


class Frames:
    name, note, digest = "noise", "100 frames of noise", "0" * 64

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> DepthFrame:
        depth = np.random.default_rng(index).uniform(0.5, 9, (SIZE, SIZE)).astype(np.float32)
        return DepthFrame(np.full((SIZE, SIZE, 3), index, np.uint8), depth, f"scene {index % 12}", f"frame {index}")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "noise")
        fill(run)
        begun, processor = time.perf_counter(), time.process_time()
        _, files = report_runs([run], None, Quiet())
        passed, processor = time.perf_counter() - begun, time.process_time() - processor
        print(f"{len(NAMES)} artefacts, 100 frames: {passed:.1f} s, {processor:.1f} s of a processor")
        for path in files:
            print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


def fill(run: Run) -> None:
    pictures = noise(128)
    CalibrationSet.write(run.folder / "calibration", pictures, origin="noise", made_from={})
    spec = InputSpec(Framing(SIZE, SIZE))
    scored = evaluate(lambda images: depth(len(images)), spec, Frames(), get_protocol("plain"), Quiet())
    conditions = summarise([read_conditions(), read_conditions()])
    timing = summarise_times(GENERATOR.integers(2_000_000, 2_100_000, 500), 10**9, 1.0)
    measured = Measured(timing, conditions, grade(timing, conditions, 2))
    latency = Latency(1, {"threads": "1"}, 9.0, 41, True, measured, measured, measured, "640x480")
    rows = []
    for name in NAMES:
        target, _, precision = name.rpartition("-")
        rows.append(BenchRow(name, target, precision, 2_000_000, "m", "s", latency=latency, evaluation=scored))
    machine, made = describe_machine(), "2026-01-01T00:00:00+00:00"
    BenchResult(made, "noise", machine, {"threads": 1, "batch": 1}, "noise", None, None, {}, tuple(rows)).write(
        run.folder / "bench" / "here.json"
    )
    shown = Shown(tuple("abcd"), pictures[:4], {name: depth(4) for name in NAMES}, depth(4))
    Gallery(shown, shown).write(run.folder / "bench" / "here.npz")


def noise(count: int) -> np.ndarray:
    return GENERATOR.integers(0, 255, (count, SIZE, SIZE, 3), dtype=np.uint8)


def depth(count: int) -> np.ndarray:
    return GENERATOR.uniform(0.5, 9, (count, SIZE, SIZE)).astype(np.float32)


if __name__ == "__main__":
    main()
