"""How many simulated images per second one core makes and reads (in processor time, so a busy machine is fine).

python examples/simulate/speed.py [LOOK] [COUNT]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from calibration.progress import Quiet
from calibration.script import run_script
from edgekd.simulate.looks import LOOKS
from edgekd.simulate.rooms import RoomSettings, render
from edgekd.simulate.store import write_set


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("look", nargs="?", default="simulated", choices=LOOKS)
    parser.add_argument("count", nargs="?", type=int, default=256)
    asked = parser.parse_args()
    measure(asked.look, asked.count)


def measure(look: str, count: int) -> None:
    settings = RoomSettings(look=look)
    render(settings, 1, 0)  # the textures are baked once per process
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        stored = write_set(
            Path(folder) / "set", settings, seed=1, count=count, workers=1, keep_depth=False, progress=Quiet()
        )
        made = count / (time.process_time() - start)
        size = sum(path.stat().st_size for path in stored.folder.iterdir()) / count / 1000
        order = np.random.default_rng(0).permutation(count)
        start = time.process_time()
        objects = np.mean([stored[int(number)].ids.max() for number in order])
        read = count / (time.process_time() - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{look}, {count} pictures of {settings.width}x{settings.height} with about {objects:.0f} objects: "
        f"{made:.1f} images/s made and written, {read:.0f} images/s read in random order, "
        f"{size:.1f} kB an image, {memory:.0f} MiB at most"
    )


if __name__ == "__main__":
    run_script(main)
