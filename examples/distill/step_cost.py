"""What mixing, transformation and features add to a distillation step, as ratios to a plain one, measured in turns.

    python examples/distill/step_cost.py [--teacher rooms] [--student slim-l] [--batch 16] [--parts] [--bfloat16]

Prints the mean of each kind of step and its ratio to plain. Steps with and without an update of the transformation
alternate, and the mean includes both. `quickest` averages the quickest step of either sort instead, for a busy machine.
--parts also measures each part alone; --bfloat16 also measures plain and full in that format. Each step includes making
its batch, which a run does ahead in a thread; that time is printed separately. The pictures are noise with block-shaped
ids: the cost does not depend on them.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from dataclasses import replace

import numpy as np
import torch

from calibration.script import run_script
from edgekd.distill.allocator import keep_freed_memory
from edgekd.distill.batches import Batches
from edgekd.distill.device import choose_device, describe
from edgekd.distill.feature_pairs import pairs_of
from edgekd.distill.features import FeatureMatch
from edgekd.distill.rates import rate_shares
from edgekd.distill.resident import training_images
from edgekd.distill.settings import DistillSettings
from edgekd.distill.statistics import stored_statistics
from edgekd.distill.steps import Fitting
from edgekd.distill.student_fit import StudentFit
from edgekd.distill.transform_fit import TransformFit
from edgekd.models.slim import Slim
from edgekd.models.students import DEFAULT_STUDENT, build_student
from edgekd.models.teacher import Teacher
from edgekd.models.teachers import load_teacher
from edgekd.simulate.sample import SimulatedImage


class _Noise:
    digest = "noise"

    def __len__(self) -> int:
        return 128

    def __getitem__(self, index: int) -> SimulatedImage:
        rng = np.random.default_rng(index)
        ids = np.kron(rng.integers(0, 12, (12, 16)), np.ones((20, 20))).astype(np.uint16)
        return SimulatedImage(rng.integers(0, 256, (240, 320, 3), dtype=np.uint8), ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="rooms")
    parser.add_argument("--student", default=DEFAULT_STUDENT)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--parts", action="store_true", help="also measure each part alone")
    parser.add_argument("--bfloat16", action="store_true", help="also measure plain and full in bfloat16")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    keep_freed_memory()
    device = choose_device(arguments.device)
    teacher = load_teacher(arguments.teacher)
    full = DistillSettings(batch=arguments.batch)
    plain = replace(full, mixing=None, transform=None, features=None)
    measured = {"plain": plain, "full": full}
    if arguments.parts:
        measured |= {
            "mixing": replace(plain, mixing=full.mixing),
            "transformation": replace(plain, transform=full.transform),
            "features": replace(plain, features=full.features),
        }
    if arguments.bfloat16:
        measured |= {f"{name} bfloat16": replace(measured[name], precision="bfloat16") for name in ("plain", "full")}
    fittings = {name: _fitting(teacher, arguments.student, settings, device) for name, settings in measured.items()}
    seconds: dict[str, list[float]] = {name: [] for name in fittings}
    for step in range(arguments.steps + 3):
        for name, (fitting, batches) in fittings.items():
            begun = time.perf_counter()
            # The batch is made inline here, so that mixing is counted; a run makes it ahead in a thread.
            fitting.step(batches.batch(step + 1000))
            if device.type == "cuda":
                torch.cuda.synchronize()
            if step >= 3:  # the first steps allocate and read
                seconds[name].append(time.perf_counter() - begun)
    print(
        f"{teacher.name} -> {arguments.student}, batch {arguments.batch}, {describe(device)}, torch {torch.__version__}"
    )
    means = {name: statistics.fmean(values) for name, values in seconds.items()}
    quickest = {name: statistics.fmean([min(values[::2]), min(values[1::2])]) for name, values in seconds.items()}
    for name in measured:
        print(
            f"{name:14} mean of {arguments.steps} {means[name] * 1e3:8.1f} ms, {means[name] / means['plain']:5.2f}; "
            f"quickest {quickest[name] * 1e3:8.1f} ms, {quickest[name] / quickest['plain']:5.2f}"
        )
    makings = {name: _making(batches, arguments.steps, device) for name, (_, batches) in fittings.items()}
    print(f"making a batch: mixed {makings['full'] * 1e3:.1f} ms, plain {makings['plain'] * 1e3:.1f} ms")


def _making(batches: Batches, count: int, device: torch.device) -> float:
    seconds = []
    for step in range(count):
        begun = time.perf_counter()
        batches.batch(step)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def _fitting(
    teacher: Teacher, student: str, settings: DistillSettings, device: torch.device
) -> tuple[Fitting, Batches]:
    batches = Batches(training_images(_Noise(), teacher.input.framing, device), _small(settings))
    transform = (
        None
        if settings.transform is None
        else TransformFit(teacher, stored_statistics(teacher.module), settings, device)
    )
    teacher = replace(teacher, module=copy.deepcopy(teacher.module))  # a copy: one of them watches its features
    module = build_student(student, teacher, settings.seed)
    features = None
    if settings.features is not None:
        pairs = pairs_of(module, teacher.module, (teacher.input.height, teacher.input.width))
        features = FeatureMatch(pairs, teacher.module)
    shares = rate_shares(module, teacher.module) if isinstance(module, Slim) and settings.reconstruction else None
    fit = StudentFit(module, teacher.input, settings, device, features, shares=shares)
    return Fitting(teacher, transform, fit, settings, device), batches


def _small(settings: DistillSettings) -> DistillSettings:
    return replace(settings, set_aside=8)


if __name__ == "__main__":
    run_script(main)
