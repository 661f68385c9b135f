"""Full disks, files that may not grow, read-only folders, folders that go away, memory that runs out.

Whatever happens, the verb must end with one line, what was finished before must be whole, and the same command must go
on from there once there is room.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kills import damage, finished, said, started, state, unlike
from table import Row
from tiny import VERBS

__all__ = ["limits_campaign"]

_TRIALS = 4  # per kind and verb


def _file_size(limit: int) -> Callable[[], None]:
    """No file may be larger than `limit` bytes: what a full file system or a quota does to a write."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def _memory(limit: int) -> Callable[[], None]:
    """The process may have `limit` bytes more than now."""

    def prepare() -> None:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (now + limit, now + limit))

    return prepare


def _gone(after: int) -> Callable[[], None]:
    """The folder answers as a network folder does whose server is gone, from the `after`th file that is synced on."""

    def prepare() -> None:
        sync, count = os.fsync, 0

        def fsync(handle: int) -> None:
            nonlocal count
            count += 1
            if count >= after:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            sync(handle)

        os.fsync = fsync

    return prepare


def limits_campaign(seed: int = 0, trials: int = _TRIALS, verbs: tuple[str, ...] = VERBS) -> list[Row]:
    """Every kind of limit on every verb that writes."""
    rng = random.Random(seed)
    made: dict[str, Callable[[], Callable[[], None]]] = {
        "a file may not grow (RLIMIT_FSIZE)": lambda: _file_size(int(10 ** rng.uniform(0, 5.7))),
        "a network folder goes away (injected ESTALE)": lambda: _gone(rng.randrange(1, 12)),
        "memory ends (RLIMIT_AS)": lambda: _memory(int(10 ** rng.uniform(6, 8.7))),
    }
    faults: dict[str, list[str | None]] = {kind: [] for kind in (*made, "read-only folder", "full disk (tmpfs)")}
    with tempfile.TemporaryDirectory() as name:
        before = Path(name) / "0" / "work"
        before.mkdir(parents=True)
        for number, verb in enumerate(VERBS):
            after = Path(name) / str(number + 1) / "work"
            shutil.copytree(before, after)
            finished(verb, after)
            if verb in verbs:
                wanted = state(after)
                for kind, prepare in made.items():
                    faults[kind] += [_trial(verb, before, wanted, prepare()) for _ in range(trials)]
                faults["read-only folder"].append(_read_only(verb, before))
                faults["full disk (tmpfs)"] += [_full(verb, before, wanted, rng) for _ in range(trials)]
            before = after
    rows = []
    for kind, found in faults.items():
        tried = [fault for fault in found if fault != _NOT_HERE]
        lost = [fault for fault in tried if fault is not None]
        for fault in lost:
            print(f"{kind}: {fault}", file=sys.stderr, flush=True)
        if tried:
            rows.append(Row(kind, len(tried), len(tried) - len(lost), len(lost)))
        else:
            print(f"{kind}: cannot be tried here", file=sys.stderr, flush=True)
    return rows


_NOT_HERE = "cannot be tried here"


def _trial(verb: str, before: Path, wanted: dict[str, Any], prepare: Callable[[], None]) -> str | None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve() / "work"
        shutil.copytree(before, folder)
        fault = _ended_well(verb, folder, prepare) or damage(folder)
        fault = fault or unlike(verb, folder, wanted)
    return None if fault is None else f"{verb}: {fault}"


def _ended_well(verb: str, folder: Path, prepare: Callable[[], None]) -> str | None:
    status = os.waitpid(started(verb, folder, prepare), 0)[1]
    if status == 0:
        return None
    if os.WIFSIGNALED(status):  # C++ code that finds no memory aborts, which is like a kill
        return None
    lines = said(folder)
    # Where not a byte can be written, neither can the reason.
    if lines != ["without a word"] and not any(line.startswith("Error: ") for line in lines):
        return f"exit code {os.WEXITSTATUS(status)} and no line of its own: {lines[-1]}"
    bugs = [line for line in lines if "bug in edgekd" in line or line.startswith("Traceback")]
    return bugs[0] if bugs else None


def _read_only(verb: str, before: Path) -> str | None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve() / "work"
        shutil.copytree(before, folder)
        untouched = state(folder)
        root = os.geteuid() == 0  # root ignores permissions: the mount must be read-only
        if root:
            for options in (["--bind", str(folder)], ["-o", "remount,ro,bind"]):
                if subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False).returncode:
                    return _NOT_HERE
        else:
            _permit(folder, 0o555)
        try:
            fault = _ended_well(verb, folder, lambda: None)
            if fault is None and state(folder) != untouched:
                fault = "the folder was written"
        finally:
            if root:
                subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)
            else:
                _permit(folder, 0o755)
    return None if fault is None else f"{verb}: {fault}"


def _permit(folder: Path, mode: int) -> None:
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        path.chmod(mode)


def _full(verb: str, before: Path, wanted: dict[str, Any], rng: random.Random) -> str | None:
    """A file system that has some room beside what is there, and then, once more is given, enough."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name).resolve()
        held = sum(path.stat().st_size + 4096 for path in before.rglob("*"))
        size = held + int(10 ** rng.uniform(4, 6.5))
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, check=False
        )
        if mounted.returncode:
            return _NOT_HERE
        try:
            folder = place / "work"
            try:
                shutil.copytree(before, folder)
            except OSError:
                return _NOT_HERE
            fault = _ended_well(verb, folder, lambda: None) or damage(folder)
            subprocess.run(["mount", "-o", "remount,size=1g", str(place)], capture_output=True, check=True)
            fault = fault or unlike(verb, folder, wanted)
        finally:
            subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)
    return None if fault is None else f"{verb}: {fault}"
