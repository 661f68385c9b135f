"""How much of a second process's time becomes pictures: a set made by one process and by two, in turns.

    python examples/simulate/scaling.py [COUNT] [ROUNDS]

On a busy machine wall time says little, so both are given: pictures for a second of processor time (of all processes
together; what two of them waste shows here) and for a second of wall time, the best of the rounds.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from calibration.progress import Quiet
from edgekd.simulate.rooms import RoomSettings
from edgekd.simulate.store import write_set


def main(count: int = 256, rounds: int = 3) -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    best: dict[int, tuple[float, float]] = {}
    for _ in range(rounds):
        for workers in (1, 2):
            processor, wall = made(count, workers)
            before = best.get(workers, (0.0, 0.0))
            best[workers] = max(before[0], count / processor), max(before[1], count / wall)
    for workers, (processor, wall) in best.items():
        print(f"{workers} processes: {processor:.1f} images/s of processor time, {wall:.1f} images/s of wall time")
    print(f"two processes make {best[2][0] / best[1][0]:.0%} of twice one's pictures for their processor time")
    print(f"and {best[2][1] / best[1][1] / 2:.0%} of twice one's in wall time")


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
    main(*(int(value) for value in sys.argv[1:3]))
