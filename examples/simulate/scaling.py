"""How well rendering scales: sets made by one process and by several, in turns.

    python examples/simulate/scaling.py [--each PICTURES] [--processes 1 2 16] [--rounds N]

Every process makes the same number of pictures, so its start-up cost weighs the same. On a busy machine wall time says
little, so two figures are printed, each the best of the rounds: pictures per second of processor time (summed over all
processes, so it shows what they cost each other) and pictures per second of wall time.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

from calibration.progress import Quiet
from edgekd.simulate.rooms import RoomSettings
from edgekd.simulate.store import write_set


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=128, help="pictures per process")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    best = dict.fromkeys(arguments.processes, (0.0, 0.0))
    for _ in range(arguments.rounds):
        for workers in arguments.processes:
            count = arguments.each * workers
            processor, wall = made(count, workers)
            before = best[workers]
            best[workers] = max(before[0], count / processor), max(before[1], count / wall)
    least = arguments.processes[0]
    for workers, (processor, wall) in best.items():
        share, linear = processor / best[least][0], wall * least / workers / best[least][1]
        print(
            f"{workers} process{'es' * (workers > 1)}: {processor:.1f} images/s of processor time"
            f" ({share:.0%} of what {least} made), {wall:.1f} images/s of wall time ({linear:.0%} of linear)"
        )


def made(count: int, workers: int) -> tuple[float, float]:
    """Processor and wall seconds for a set, starting the processes and baking the textures included."""
    with tempfile.TemporaryDirectory() as folder:
        before, start = spent(), time.perf_counter()
        path = Path(folder) / "set"
        write_set(path, RoomSettings(), seed=1, count=count, workers=workers, keep_depth=False, progress=Quiet())
        return spent() - before, time.perf_counter() - start


def spent() -> float:
    """Processor seconds of this process and of the children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    main()
