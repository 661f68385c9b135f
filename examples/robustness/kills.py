"""Sends SIGKILL at random moments, repeats the command, and checks for differences from an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny
from table import Row
from tiny import RUN, VERBS

from calibration.files import sha256_file
from edgekd.run import Run

__all__ = ["Trial", "damage", "finished", "kill_campaign", "kill_trial", "said", "started", "state", "unlike"]

_AGAIN = 0.3  # share of trials in which the second call is killed too
_MEASURED = ("latency", "throughput", "cold")  # in a bench row: never the same twice


@dataclass(frozen=True)
class Trial:
    """One kill. `fault` says what was lost, None when nothing was."""

    verb: str
    moment: float  # seconds after the work began
    killed: bool  # False: it had finished before the kill
    fault: str | None


_HEARD: dict[Path, subprocess.Popen[bytes]] = {}


def started(verb: str, folder: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """A process of its own that does the verb in `folder`; a fork, so that only work is interrupted, not imports.

    `prepare` is called in it first. What it says goes through a pipe to said.txt: no limit on files cuts it short.
    """
    with open(folder.with_name("said.txt"), "wb") as kept:
        heard = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=kept)
    assert heard.stdin is not None
    process = os.fork()
    if process:
        heard.stdin.close()
        _HEARD[folder] = heard
        return process
    code = 1
    try:
        os.chdir(folder)
        os.dup2(heard.stdin.fileno(), 1)
        os.dup2(heard.stdin.fileno(), 2)
        heard.stdin.close()
        prepare()
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
    if os.waitpid(started(verb, folder), 0)[1]:
        raise RuntimeError(f"{verb} failed: {said(folder)[-1]}")
    return time.monotonic() - begun


def said(folder: Path) -> list[str]:
    """The lines of the process that was started last for this folder, and has ended."""
    if (heard := _HEARD.pop(folder, None)) is not None:
        heard.wait(timeout=30)
    return folder.with_name("said.txt").read_text(errors="replace").strip().splitlines() or ["without a word"]


def kill_trial(verb: str, before: Path, after: dict[str, Any], span: float, rng: random.Random) -> Trial:
    """Kill the verb in a copy of the folder `before`, run it again, and compare with `after` (see `state`)."""
    moment = rng.uniform(0, span)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve() / "work"
        shutil.copytree(before, folder)
        killed = _kill(verb, folder, moment)
        fault = damage(folder)
        if killed and fault is None and rng.random() < _AGAIN:
            _kill(verb, folder, rng.uniform(0, span))
            fault = damage(folder)
        if fault is None:
            fault = unlike(verb, folder, after)
    return Trial(verb, moment, killed, fault)


def _kill(verb: str, folder: Path, moment: float) -> bool:
    process = started(verb, folder)
    time.sleep(moment)
    os.kill(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    return os.WIFSIGNALED(status)


def unlike(verb: str, folder: Path, after: dict[str, Any]) -> str | None:
    """Run the verb to its end; how the folder then differs from what an uninterrupted run leaves."""
    try:
        finished(verb, folder)
    except RuntimeError as error:
        return str(error)
    return _difference(after, state(folder)) or _left(folder)


def damage(folder: Path) -> str | None:
    """What an interruption broke that had been finished before."""
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
        before = Path(name) / "0" / "work"
        before.mkdir(parents=True)
        for number, verb in enumerate(VERBS[: 1 + max(map(VERBS.index, verbs))]):
            after = Path(name) / str(number + 1) / "work"
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
