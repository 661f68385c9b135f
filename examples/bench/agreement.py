"""Do two benches of one artefact agree? Benches it repeatedly and compares each bench with the one before.

    python examples/bench/agreement.py runs/NAME/artefacts/openvino-int8 [--times 8]

The promise: their p50 agree within 3 %, or one of the two is graded B or worse.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np

from calibration.progress import Quiet
from calibration.script import run_script
from edgekd.bench.latency import measure_latency
from edgekd.bench.machine import describe_machine
from targets import get_target
from targets.artefact import open_artefact
from targets.base import RunnerOptions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artefacts", nargs="+", type=Path)
    parser.add_argument("--times", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0)
    asked = parser.parse_args()
    cores = describe_machine().usable_cores
    for folder in asked.artefacts:
        artefact = open_artefact(folder)
        size = (8, artefact.input.height, artefact.input.width, 3)
        images = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)
        found = []
        for _ in range(asked.times):
            with get_target(artefact.target).open(artefact, RunnerOptions(1)) as runner:
                latency = measure_latency(runner, images, seconds=asked.seconds, usable_cores=cores, progress=Quiet())
            found.append((latency.p50, latency.infer.grade.letter))
            print(f"{artefact.name} {found[-1][0]:.3f} ms {found[-1][1]} {'; '.join(latency.infer.grade.evidence)}")
        pairs = [(abs(b / a - 1), x + y) for (a, x), (b, y) in pairwise(found)]
        stable = [difference for difference, grades in pairs if grades == "AA"]
        broken = [difference for difference in stable if difference > 0.03]
        print(
            f"{artefact.name}: {len(stable)} of {len(pairs)} pairs are both A, differing by up to "
            f"{max(stable, default=0):.1%}; {len(broken)} break the promise"
        )


if __name__ == "__main__":
    run_script(main)
