"""The time a program takes before its first depth, and the memory it needs, measured in processes of their own.

    python -m edgekd.bench.cold ARTEFACT_FOLDER THREADS [DEVICE]

opens the artefact, infers one picture twenty times and prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibration.errors import ArtefactError
from edgekd.bench.grade import Grade, Letter
from edgekd.bench.sysfs import field, text
from targets.artefact import rebuild_command
from targets.base import Artefact

__all__ = ["Cold", "measure_cold"]

_PROCESSES = 3
_INFERENCES = 20
_TIME_LIMIT = 300  # seconds: engines of large networks load slowly from an SD card


@dataclass(frozen=True)
class Cold:
    """Medians over a few new processes, whose files the system's cache may hold. MiB are of the whole process."""

    processes: int
    load: float  # milliseconds to import the runtime and open the artefact
    first: float  # milliseconds of the first inference
    base_mib: float | None  # memory before the runtime is imported: Python, NumPy and edgekd
    peak_mib: float | None  # the most it ever held
    grade: Grade


def measure_cold(artefact: Artefact, threads: int, device: str | None) -> Cold:
    """Open the artefact in three new processes, one after another. Raises ArtefactError when one fails."""
    command = [sys.executable, "-m", "edgekd.bench.cold", str(artefact.folder.absolute()), str(threads)]
    command += [] if device is None else [device]
    found = [_ask(command, artefact) for _ in range(_PROCESSES)]
    loads, firsts = [one["load"] for one in found], [one["first"] for one in found]
    peaks = [one["peak_mib"] for one in found if one["peak_mib"] is not None]
    bases = [one["base_mib"] for one in found if one["base_mib"] is not None]
    return Cold(
        processes=len(found),
        load=statistics.median(loads),
        first=statistics.median(firsts),
        base_mib=statistics.median(bases) if bases else None,
        peak_mib=statistics.median(peaks) if peaks else None,
        grade=_grade(loads),
    )


def _grade(loads: list[float]) -> Grade:
    """Three processes are few, so a spread of more than a tenth already counts as noise."""
    spread = max(loads) / min(loads)
    letter: Letter = "A" if spread <= 1.1 else "B" if spread <= 1.5 else "C"
    said = f"{len(loads)} processes, loading took {min(loads):.0f}-{max(loads):.0f} ms"
    return Grade(letter, (said,), ("whether the files were in the system's cache",))


def _ask(command: list[str], artefact: Artefact) -> dict[str, Any]:
    """Run in the artefact's folder: `python -m` imports from the current folder first, where the user's own files may
    have the names of our packages. The new process has the import paths of this one."""
    paths = {"PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIME_LIMIT,
            check=False,
            cwd=artefact.folder.absolute(),
            env=os.environ | paths,
        )
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        said = (done.stderr.strip().splitlines() or [""])[-1] if isinstance(error, (ValueError, IndexError)) else error
        raise ArtefactError(
            f"The artefact fails to open in a new process ({said})",
            fix=f"Rebuild it: {rebuild_command(artefact)}",
        ) from error
    return answer


def _resident_mib(name: str) -> float | None:
    """VmRSS (now) or VmHWM (the peak so far) of this process. Not from getrusage, whose peak is inherited from the
    parent process."""
    found = field(text(Path("/proc/self/status")) or "", name)
    return None if found is None else float(found.split()[0]) / 1024


def _once(folder: Path, threads: int, device: str | None) -> dict[str, Any]:
    from targets import get_target
    from targets.artefact import open_artefact
    from targets.base import RunnerOptions
    from targets.trial import trial_pictures

    artefact = open_artefact(folder)
    target = get_target(artefact.target)
    pictures = np.ascontiguousarray(trial_pictures(artefact.input.height, artefact.input.width)[:1])
    base = _resident_mib("VmRSS")
    start = time.perf_counter()
    with target.open(artefact, RunnerOptions(threads, device)) as runner:
        opened = time.perf_counter()
        runner.infer(pictures)
        inferred = time.perf_counter()
        for _ in range(_INFERENCES - 1):
            runner.infer(pictures)
        return {
            "load": 1000 * (opened - start),
            "first": 1000 * (inferred - opened),
            "base_mib": base,
            "peak_mib": _resident_mib("VmHWM"),
        }


if __name__ == "__main__":
    asked_device = sys.argv[3] if len(sys.argv) > 3 else None
    print(json.dumps(_once(Path(sys.argv[1]), int(sys.argv[2]), asked_device)))  # noqa: T201
