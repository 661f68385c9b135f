"""A bundle on a board: check that the board can run it, send it if it is not there, run it and fetch the result."""

from __future__ import annotations

import re
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.errors import ArtefactError, EdgekdError, MissingRuntimeError, UsageError
from calibration.files import replacing_folder, sha256_file, write_json
from calibration.progress import Progress
from edgekd.remote.answers import last_line, last_object, pack_command, unpack
from edgekd.remote.board import Answer, Board

__all__ = ["Deployment", "deploy"]

_MACHINES = ("aarch64", "arm64", "x86_64", "amd64")
_OLDEST = (3, 8)
_LOOK = """
import json, os, platform, shutil, sys
try:
    import numpy
    numpy = numpy.__version__
except ImportError:
    numpy = None
home = os.path.expanduser("~")
print(json.dumps({"machine": platform.machine(), "python": list(sys.version_info[:2]), "numpy": numpy, "home": home,
                  "free": shutil.disk_usage(home).free}))
"""
_CHECK = "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())"
_KILLED = 137  # 128 + SIGKILL, from the shell
_KINDS: dict[int, type[EdgekdError]] = {2: UsageError, 3: MissingRuntimeError}


@dataclass(frozen=True)
class Tested:
    """One model as it ran on the board: its self-test's error (a share of depth) and its latency in milliseconds."""

    precision: str
    runtime: str
    error: float
    p50_ms: float
    p90_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Deployment:
    """The outcome: run.py's own result, what it says, and the folder here that keeps it with the built engines."""

    address: str
    there: str  # the bundle's folder on the board
    result: Mapping[str, Any]
    machine: str  # the board by its own name
    tested: tuple[Tested, ...]
    kept: Path


def deploy(
    board: Board, archive: Path, digest: str, arguments: tuple[str, ...], kept: Path, progress: Progress
) -> Deployment:
    """Put the bundle `archive`, whose folder is named after it, on the board; run `run.py --json ARGUMENTS`.

    A bundle already there is not sent again. Raises MissingRuntimeError for a board that is not reached or lacks
    something, ArtefactError for one that cannot run it or where every self-test fails.
    """
    home, free = _look(board, progress)
    name = archive.name.removesuffix(".tar.gz")
    place = f"{home}/.cache/edgekd/bundles/{digest[:16]}"
    there = f"{place}/{name}"
    if board.ask("test", "-f", f"{there}/manifest.json").code:
        _require_room(board, archive, free)
        _put(board, archive, place, name, progress)
    else:  # run.py itself looks at the disk before it builds an engine
        progress.note(f"The bundle is already on {board.address}")
    # The shell stays until the end: ssh tells a command that was killed as a connection that broke.
    command = f"cd {shlex.quote(there)} && python3 run.py --json {shlex.join(arguments)}; exit $?"
    label = f"Building, testing and measuring on {board.address}"
    with progress.task(label, every=2.0):
        answer = board.watch(shlex.join(["sh", "-c", command]), lambda line: _tell(line, progress))
    try:
        result = last_object(answer.out)
        failures = [ArtefactError(f"On {board.address}: {one['message']}", fix=one["fix"]) for one in result["failed"]]
        tested = tuple(map(_tested, result["rows"]))
        machine = str(result["machine"].get("board") or result["machine"]["machine"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if answer.code:
            raise _failure(board, answer) from error
        raise ArtefactError(f"{board.address} gave no result ({error!r})", fix=f"Look there: {there}") from error
    if failures and not tested:
        for failure in failures[1:]:
            progress.note(str(failure))
        raise failures[0]
    for failure in failures:  # the other precisions can still be used
        progress.note(str(failure))
    engines = board.ask("sh", "-c", pack_command(there, "engines", "result.json"))
    with replacing_folder(kept) as folder:
        if engines.code:
            reason = last_line(engines.err, f"exit code {engines.code}")
            progress.note(f"No engines came back from {board.address} ({reason}); the measurements are kept")
        else:
            _unpack(board, engines, folder)
        write_json(folder / "result.json", {**result, "address": board.address, "there": there})
    return Deployment(board.address, there, result, machine, tested, kept)


def _tested(row: Mapping[str, Any]) -> Tested:
    return Tested(
        str(row["precision"]),
        str(row["runtime"]),
        float(row["error"]),
        *(float(row[name]) for name in ("p50_ms", "p90_ms", "p99_ms")),
    )


def _look(board: Board, progress: Progress) -> tuple[str, int]:
    """The board's home folder and the bytes free there, after checking that a bundle can run on it."""
    with progress.task(f"Probing {board.address}"):
        answer = board.ask("python3", "-c", _LOOK)
    try:
        found = last_object(answer.out)
        machine, python = str(found["machine"]), (int(found["python"][0]), int(found["python"][1]))
        home, numpy, free = str(found["home"]), found["numpy"], int(found["free"])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        reason = last_line(answer.err, "no answer")
        raise MissingRuntimeError(
            f"{board.address} cannot start python3 ({reason})", fix="Install it there: sudo apt install python3"
        ) from error
    if machine.lower() not in _MACHINES:
        raise ArtefactError(
            f"{board.address} is {machine}; a bundle runs on 64-bit Arm and x86", fix="Choose another board"
        )
    if python < _OLDEST:
        raise MissingRuntimeError(
            f"{board.address} has Python {python[0]}.{python[1]}; a bundle needs 3.8 or newer",
            fix="JetPack 4 is too old: use JetPack 5 or newer, or install python3.8 there",
        )
    if numpy is None:
        raise MissingRuntimeError(
            f"{board.address} has no numpy", fix="Install it there: sudo apt install python3-numpy"
        )
    progress.note(f"{board.address}: {machine}, Python {python[0]}.{python[1]}, numpy {numpy}")
    return home, free


def _require_room(board: Board, archive: Path, free: int) -> None:
    needed = 12 * archive.stat().st_size + (64 << 20)  # unpacked, and engines beside it
    if free < needed:
        raise MissingRuntimeError(
            f"{board.address} has {free >> 20} MB free, but the bundle and its engines may need {needed >> 20} MB",
            fix="Free some space there",
        )


def _put(board: Board, archive: Path, place: str, name: str, progress: Progress) -> None:
    """Send the archive and unpack it there; a folder of this name is complete or does not exist."""
    part = f"{place}/{name}.tar.gz"
    _require(board, board.ask("mkdir", "-p", place))
    with progress.task(f"Sending the bundle to {board.address}", total=archive.stat().st_size) as advance:
        board.send(archive, part, advance)
    if last_line(board.ask("python3", "-c", _CHECK, part).out.decode(errors="replace")) != sha256_file(archive):
        raise MissingRuntimeError(f"The bundle arrived damaged on {board.address}", fix="Run the same command again")
    unpacking = f"{place}/.unpacking"
    script = "rm -rf {0} && mkdir {0} && tar -xzf {1} -C {0} && rm -rf {2} && mv {0}/{3} {2} && rm -r {0} {1}"
    words = (shlex.quote(word) for word in (unpacking, part, f"{place}/{name}", name))
    _require(board, board.ask("sh", "-c", script.format(*words)))


def _unpack(board: Board, engines: Answer, folder: Path) -> None:
    try:
        unpack(engines.out, folder)
    except (tarfile.TarError, ValueError, FileExistsError, NotADirectoryError) as error:  # names that cannot be files
        raise ArtefactError(
            f"The reply from {board.address} cannot be unpacked ({error})", fix="Run the same command again"
        ) from error


def _require(board: Board, answer: Answer) -> None:
    if answer.code:
        reason = last_line(answer.err, "no reason given")
        raise MissingRuntimeError(f"{board.address} cannot store the bundle ({reason})", fix="Check its disk")


def _tell(line: str, progress: Progress) -> None:
    """Note what run.py says, except its progress, which the task shows, and its error."""
    if line.strip() and not re.match(r"Building the \w+ engine", line) and not line.startswith("Error: "):
        progress.note(line)


def _failure(board: Board, answer: Answer) -> EdgekdError:
    """run.py's own error, of the kind that its exit code stands for."""
    if answer.code == _KILLED:
        return ArtefactError(
            f"run.py was killed on {board.address}, most likely by the kernel because memory ran out",
            fix="Close other programs there or add swap, and run the same command again",
        )
    last = last_line(answer.err, f"exit code {answer.code}")
    message, _, fix = last.removeprefix("Error: ").rstrip(".").rpartition(". ")
    kind = _KINDS.get(answer.code, ArtefactError)
    return kind(f"On {board.address}: {message or fix}", fix=fix if message else "Check it there")
