"""What finishing a student's training in simulated int8 is worth, against the same number of steps in float.

    edgekd distill --teacher fastdepth --out runs/student
    python examples/calibration/quantisation_aware.py runs/student --teacher fastdepth [--pairs PAIRS/index.csv]

Both continue from the run's student, with the run's transformation and the same rooms, rate and number of steps. Prints
how far the int8 models are from their own fp32 and from the teacher, on rooms of the photographed look and on the
frames of PAIRS, where it also prints delta1 against their depth.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from pathlib import Path

import numpy as np
import torch
from pictures import Images, rooms
from torch import nn

from calibration.images import CalibrationSet
from calibration.progress import Quiet
from calibration.script import run_script
from edgekd.distill.adapt import load_transform, transformed_images
from edgekd.distill.rates import over_steps
from edgekd.distill.settings import DistillSettings, QuantisationSettings
from edgekd.distill.student_fit import StudentFit
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.evaluate import open_dataset
from edgekd.evaluate.datasets.frame import frame_all
from edgekd.evaluate.metrics import score
from edgekd.models.slim import Slim
from edgekd.models.students import build_student
from edgekd.models.teacher import Teacher
from edgekd.models.teachers import load_teacher
from edgekd.models.to_onnx import export_onnx
from edgekd.models.weights import fill, load_weights
from edgekd.run import find_run
from edgekd.steps.training import run_depth
from targets.calibrated import infer_quantised
from targets.drift import measure_drift
from targets.encodings import S8, U8S8
from targets.graph import read_graph
from targets.quantise import calibrate
from targets.reference import infer_model

BATCH, SEED = 16, 78


def finished(
    student: nn.Module, teacher: Teacher, pictures: Images, settings: DistillSettings, *, int8: bool
) -> dict[str, tuple[float, float]]:
    """Train `student` in place; returns the learned ranges."""
    # A student whose weights were solved for keeps its BatchNorm layers as they were set, as in its run.
    shares: dict[str, float] | None = {} if isinstance(student, Slim) else None
    fit = StudentFit(student, teacher.input, settings, torch.device("cpu"), shares=shares)
    assert settings.quantisation is not None and fit.int8 is not None
    normalise, rng = Normalise(teacher.input), np.random.default_rng(SEED)
    for step in range(settings.quantisation.steps):
        batch = to_tensor(pictures[rng.choice(len(pictures), BATCH, replace=False)], torch.device("cpu"))
        with torch.no_grad():
            depth = teacher.module(normalise(batch))
        fit.accumulate(batch, depth, int8=int8)
        fit.update(over_steps(1 + step / settings.steps, settings))
    fit.finish()
    return fit.int8.ranges() if int8 else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run of edgekd distill with its transformation")
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--images", type=int, default=320, help="rooms to train on")
    parser.add_argument("--pairs", help="index.csv of RGB-D frames to measure on")
    arguments = parser.parse_args()
    run, teacher = find_run(arguments.run, Quiet()), load_teacher(arguments.teacher)
    if run.manifest.teacher is None or "distill" not in run.manifest.steps:
        parser.error(f"{run.folder} has no student: name a run of edgekd distill")
    if run.manifest.teacher.digest != teacher.digest:
        parser.error(f"{run.folder} is of the teacher {run.manifest.teacher.spec}: pass --teacher with it")
    weights = load_weights(run.folder / "student.safetensors")
    student = build_student(str(weights.architecture), teacher)
    fill(student, weights.tensors, "the run's student", architecture=str(weights.architecture))
    framing = teacher.input.framing
    net = load_transform(run.folder / "transform.safetensors")
    pictures = transformed_images(net, rooms(framing, arguments.images, seed=SEED)[0], seed=SEED)
    images = np.asarray(CalibrationSet.open(run.folder / "calibration").split()[0])
    places = {"photographed rooms": rooms(framing, 32, "photographed")[0]}
    truth = np.zeros((0, framing.height, framing.width), np.float32)
    if arguments.pairs:
        data = open_dataset(arguments.pairs)
        places["real frames"], truth = frame_all((data[index] for index in range(len(data))), framing)
    settings = DistillSettings(steps=1, features=None, quantisation=QuantisationSettings(arguments.steps))
    print(f"{run.folder}: {arguments.steps} more steps of {BATCH}, {len(pictures)} rooms, seed {SEED}\n")
    print(
        "| finished in | on | encoding | from its fp32: < 5 % / < 1 % | from the teacher | fp32's | delta1 | fp32's |"
    )
    print("| --- " * 8 + "|", flush=True)
    for label, int8 in (("float", False), ("simulated int8", True)):
        trained = copy.deepcopy(student)
        ranges = finished(trained, teacher, pictures, settings, int8=int8)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "student.onnx"
            export_onnx(trained, teacher.input, path, metadata={}, ranges=ranges)
            graph = read_graph(path)
        calibrated = calibrate(graph, images, Quiet())
        for place, shown in places.items():
            taught, exact = run_depth(teacher.module, teacher.input, shown), infer_model(graph.model, shown)
            for encoding in (U8S8, S8):
                depth = infer_quantised(calibrated, encoding, shown)
                own = measure_drift(depth, exact)
                from_teacher = [f"{measure_drift(one, taught).abs_rel:.4f}" for one in (depth, exact)]
                right = ["-", "-"]
                if place == "real frames":
                    right = [
                        f"{np.mean([score(d, t)['delta1'] for d, t in zip(one, truth, strict=True)]):.4f}"
                        for one in (depth, exact)
                    ]
                cells = [label, place, encoding.name, f"{own.within_5:.3f} / {own.within_1:.3f}", *from_teacher, *right]
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    run_script(main)
