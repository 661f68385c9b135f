"""How near to its teacher is a student that is cut out of it, before any training?

    python examples/paper/untrained.py --teacher fastdepth --work WORK [--student slim-l] [--pairs PAIRS/index.csv]

As it is cut, and solved for by least squares on simulated rooms (neither mixed nor transformed), with the channels of
the largest weights and with those that are missed least. Prints agreement (delta1) with the teacher, and the seconds
that it took.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from table import agreement_with, depth_of
from torch import Tensor
from worlds import World, real_world, stand_in_world

from calibration.script import run_script
from edgekd.distill.reconstruction import reconstruct
from edgekd.distill.settings import ReconstructionSettings
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.models.slim import Slim, choose_channels
from edgekd.models.students import build_student

CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="fastdepth")
    parser.add_argument("--student", default="slim-l", choices=["slim-s", "slim-m", "slim-l"])
    parser.add_argument("--work", type=Path, required=True, help="folder for rendered sets")
    parser.add_argument("--pairs", type=Path, help="index.csv of real RGB-D pairs to measure on")
    parser.add_argument("--images", type=int, default=500, help="of a set, of which the first are solved on")
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--pictures", type=int, default=ReconstructionSettings().pictures)
    parser.add_argument("--ridge", type=float, default=ReconstructionSettings().ridge)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of PyTorch")
    arguments = parser.parse_args()
    if arguments.pictures > arguments.images:
        parser.error(f"--pictures {arguments.pictures} are more than --images {arguments.images}")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.pairs is None:
        world = stand_in_world(arguments.teacher, arguments.work, arguments.images, arguments.held_out)
    else:
        world = real_world(arguments.teacher, arguments.work, arguments.images, arguments.pairs, None)
    taught = depth_of(world.teacher.module, world, CPU)
    what = f"{arguments.teacher} -> {arguments.student}, {world.name} world, {arguments.pictures} pictures"
    print(f"{what}, torch {torch.__version__}")
    for seed in range(arguments.seeds):
        pictures = _simulated(world, seed, arguments.pictures)
        for name, chooses, solves in (
            ("as it is cut", False, False),
            ("solved for, channels by the size of their weights", False, True),
            ("solved for, channels that are missed least", True, True),
        ):
            student = build_student(arguments.student, world.teacher)
            assert isinstance(student, Slim)
            begun = time.perf_counter()
            if chooses:
                choose_channels(student, world.teacher, pictures)
            if solves:
                reconstruct(student, world.teacher.module, pictures, arguments.ridge)
            seconds = time.perf_counter() - begun
            agreement = agreement_with(depth_of(student, world, CPU), taught).mean()
            print(f"seed {seed}: {agreement:.3f} {name} ({seconds:.0f} s)", flush=True)


def _simulated(world: World, seed: int, count: int) -> list[Tensor]:
    """Normalised pictures, sixteen at a time."""
    source, spec = world.simulated(world.count, seed), world.teacher.input
    framed = np.stack([spec.framing.image(source[number].rgb) for number in range(count)])
    normalise = Normalise(spec)
    return [normalise(to_tensor(framed[start : start + 16], CPU)) for start in range(0, count, 16)]


if __name__ == "__main__":
    run_script(main)
