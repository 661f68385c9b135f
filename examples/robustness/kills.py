"""SIGKILL at random moments, the same command again, and whether anything differs from an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny
from table import Row
from tiny import RUN, VERBS

from calibration.files import sha256_file
from edgekd.run import Run

__all__ = ["Trial", "finished", "kill_campaign", "kill_trial"]

_AGAIN = 0.3  # share of the trials in which the second call is killed as well
_MEASURED = ("latency", "throughput", "cold")  # of a bench row: never the same twice


@dataclass(frozen=True)
class Trial:
    """One kill. `fault` says what was lost, None when nothing was."""

    verb: str
    moment: float  # seconds after the work began
    killed: bool  # False: it was done before
    fault: str | None


def _start(verb: str, folder: Path) -> int:
    """A process of its own that does the verb in `folder`; a fork, so that only work is interrupted, not imports."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.chdir(folder)
        with open("said.txt", "a") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        code = tiny.do(verb)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def finished(verb: str, folder: Path) -> float:
    """Run the verb to its end; returns the seconds it took."""
    begun = time.monotonic()
    if os.waitpid(_start(verb, folder), 0)[1]:
        said = (folder / "said.txt").read_text().strip().splitlines()
        raise RuntimeError(f"{verb} failed: {said[-1] if said else 'without a word'}")
    (folder / "said.txt").unlink()
    return time.monotonic() - begun


def kill_trial(verb: str, before: Path, after: dict[str, Any], span: float, rng: random.Random) -> Trial:
    """Kill the verb in a copy of the folder `before`, run it again, and compare with `after` (see `state`)."""
    moment = rng.uniform(0, span)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve() / "work"
        shutil.copytree(before, folder)
        killed = _kill(verb, folder, moment)
        fault = _damage(folder)
        if killed and fault is None and rng.random() < _AGAIN:
            _kill(verb, folder, rng.uniform(0, span))
            fault = _damage(folder)
        if fault is None:
            try:
                finished(verb, folder)
                fault = _difference(after, state(folder)) or _left(folder)
            except RuntimeError as error:
                fault = str(error)
    return Trial(verb, moment, killed, fault)


def _kill(verb: str, folder: Path, moment: float) -> bool:
    process = _start(verb, folder)
    time.sleep(moment)
    os.kill(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    (folder / "said.txt").unlink(missing_ok=True)
    return os.WIFSIGNALED(status)


def _damage(folder: Path) -> str | None:
    """What a kill broke that had been finished before."""
    if not (folder / RUN / "run.json").is_file():
        return None
    faults = [fault for fault in Run.open(folder / RUN).faults() if "is unfinished" not in fault.message]
    return f"after the kill: {faults[0].message}" if faults else None


def _left(folder: Path) -> str | None:
    left = [path for suffix in ("part", "old") for path in folder.rglob(f".*.{suffix}")]
    return f"{left[0].relative_to(folder)} was left behind" if left else None


def state(folder: Path) -> dict[str, Any]:
    """Every file's digest or, where it holds times, what it says beside them."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        name = path.relative_to(folder).as_posix()
        if path.name == "metrics.jsonl":
            found[name] = [{**json.loads(line), "seconds": 0} for line in path.read_text().splitlines()]
        elif path.name == "run.json":
            steps = json.loads(path.read_text().replace(str(folder), "."))["steps"]
            kept = {key: (step["asked"], step["inputs"], sorted(step["outputs"])) for key, step in steps.items()}
            found[name] = kept if all(step["finished"] for step in steps.values()) else "unfinished"
        elif path.parent.name == "bench" and path.suffix == ".json":
            rows = json.loads(path.read_text())["rows"]
            found[name] = [{key: value for key, value in row.items() if key not in _MEASURED} for row in rows]
        elif path.suffix == ".json":
            found[name] = json.loads(path.read_text())
        else:
            found[name] = sha256_file(path)
    return found


def _difference(wanted: Any, got: Any, where: str = "") -> str | None:
    """The first place where two states differ, in words."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        for name in sorted(wanted.keys() | got.keys()):
            if said := _difference(wanted.get(name), got.get(name), f"{where} {name}"):
                return said
        return None
    return None if wanted == got else f"{where.strip()} is {got!r:.80} instead of {wanted!r:.80}"


def kill_campaign(trials: int, seed: int, verbs: tuple[str, ...] = VERBS) -> list[Row]:
    """`trials` kills, spread over the verbs."""
    rng = random.Random(seed)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        before = Path(name) / "0"
        before.mkdir()
        for number, verb in enumerate(VERBS):
            after = Path(name) / str(number + 1)
            shutil.copytree(before, after)
            span = finished(verb, after)
            if verb in verbs:
                share = trials // len(verbs) + (verbs.index(verb) < trials % len(verbs))
                wanted, done, late = state(after), 0, 0
                faults: list[str] = []
                while done < share and late < 3 * share:
                    trial = kill_trial(verb, before, wanted, span, rng)
                    done, late = done + trial.killed, late + (not trial.killed)
                    if trial.fault is not None:
                        faults.append(f"{verb} killed after {trial.moment:.2f} s: {trial.fault}")
                        print(faults[-1], file=sys.stderr, flush=True)
                about = f"SIGKILL in {span:.1f} s of {verb}"
                rows.append(Row(about, done, done - len(faults), len(faults)))
                print(rows[-1], file=sys.stderr, flush=True)
            before = after
    return rows
