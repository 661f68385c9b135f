"""How long exporting every target in int8 takes, and how much memory, by the command that a user would type.

python examples/calibration/export_cost.py runs/fastdepth
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a finished run")
    arguments = parser.parse_args()
    start = time.monotonic()
    main_of_edgekd = "from edgekd.cli.app import main; main()"
    command = [sys.executable, "-c", main_of_edgekd, "export", arguments.run, "--precision", "int8", "--force"]
    if code := subprocess.run(command, check=False).returncode:
        raise SystemExit(code)  # the command has said why
    seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2  # GiB; Linux reports kilobytes
    print(f"\n{seconds:.0f} s, {peak:.2f} GiB at most, on {len(os.sched_getaffinity(0))} cores")


if __name__ == "__main__":
    main()
