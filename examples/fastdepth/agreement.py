"""How well a finished run's student agrees with its teacher on the pictures of RGB-D pairs, and both with the depth.

    python examples/fastdepth/agreement.py runs/fastdepth-slim-l PAIRS/index.csv

Prints mean delta1 and AbsRel over the pictures, without alignment, at the network's resolution, in float32.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from calibration.script import run_script
from edgekd.evaluate.datasets import open_dataset
from edgekd.evaluate.datasets.frame import frame_all
from edgekd.evaluate.metrics import score
from edgekd.models.students import build_student
from edgekd.models.teachers import load_teacher
from edgekd.models.weights import fill, load_weights
from edgekd.run import Run
from edgekd.steps.training import run_depth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("pairs")
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    if run.manifest.teacher is None or "distill" not in run.manifest.steps:
        parser.error(f"{run.folder} has no student: name a run of edgekd distill")
    teacher = load_teacher(run.manifest.teacher.spec)
    weights = load_weights(run.folder / "student.safetensors")
    asked = run.manifest.steps["distill"].asked
    student = build_student(asked["student"], teacher)
    fill(student, weights.tensors, str(run.folder), architecture=asked["student"])

    data = open_dataset(arguments.pairs)
    pictures, truth = frame_all((data[index] for index in range(len(data))), teacher.input.framing)
    taught = run_depth(teacher.module, teacher.input, pictures)
    learnt = run_depth(student, teacher.input, pictures)
    rows = {
        "student against teacher": zip(learnt, taught, strict=True),
        "student against depth": zip(learnt, truth, strict=True),
        "teacher against depth": zip(taught, truth, strict=True),
    }
    print(f"{run.name}, {asked['settings']['steps']} steps of {asked['settings']['batch']}, {len(pictures)} pictures")
    for name, pairs in rows.items():
        scores = [score(one, other) for one, other in pairs]
        delta1, absrel = (float(np.mean([row[key] for row in scores])) for key in ("delta1", "absrel"))
        print(f"{name:24} delta1 {delta1:.3f}  AbsRel {absrel:.3f}")


if __name__ == "__main__":
    run_script(main)
