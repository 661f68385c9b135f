"""One writer a folder: a lock that the kernel drops when its process dies, with the holder's name in it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from calibration.errors import FileError, RunLockedError
from calibration.progress import Progress, Quiet
from edgekd.run.manifest import NAME as RUN
from edgekd.run.manifest import now

__all__ = ["LOCK", "Holder", "locked"]

LOCK = ".lock"
"""The lock file's name. It stays, empty, when nobody writes."""

_QUIET = Quiet()
_POLL = 0.2  # seconds between two looks at a lock that is waited for


@dataclass(frozen=True)
class Holder:
    """The process that writes a folder."""

    pid: int
    host: str
    started: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.started[:19].replace('T', ' ')} UTC"

    @property
    def gone(self) -> bool:
        """Whether the process surely no longer runs: known for this host alone."""
        if self.host != socket.gethostname() or os.name != "posix":
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


@contextlib.contextmanager
def locked(folder: Path, progress: Progress = _QUIET, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the folder's lock; one that a dead process left is taken over, and that is said.

    Raises RunLockedError naming the process that holds it, and still does after `wait` seconds.
    """
    path = Path(folder) / LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        read_only = path.with_name(RUN).exists()
        fix = f"Work on a copy of {folder}" if read_only else "Choose a folder that can be written"
        raise FileError(f"Cannot write {path}: {error.strerror}", fix=fix) from error
    try:
        _take_within(wait, handle, folder, progress)
        try:
            yield
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)  # closing is what unlocks


def _take_within(seconds: float, handle: int, folder: Path, progress: Progress) -> None:
    end, told = time.monotonic() + seconds, False
    while True:
        try:
            return _take(handle, folder, progress)
        except RunLockedError as refused:
            if time.monotonic() >= end:
                raise
            if not told:
                progress.note(f"{refused.message}; waiting for it")
                told = True
        time.sleep(_POLL)


def _take(handle: int, folder: Path, progress: Progress) -> None:
    """Take the lock and write who holds it now. Raises RunLockedError."""
    by_kernel = _acquire(handle, folder)
    left = _read(handle)
    if not by_kernel and left is not None and not left.gone:
        raise _refusal(folder, left)
    if left is not None:
        progress.note(f"The last writer of {folder} did not finish ({left}); going on from what it left")
    _write(handle, Holder(os.getpid(), socket.gethostname(), now()))


def _acquire(handle: int, folder: Path) -> bool:
    """Whether the kernel gave the lock; False where it has no such locks (Windows, some network file systems).

    Then who is named in the file decides alone. Raises RunLockedError.
    """
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL):
            return False
        raise _refusal(folder, _read(handle)) from error
    return True


def _read(handle: int) -> Holder | None:
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        holder = Holder(**json.loads(os.read(handle, 4096)))
    except (ValueError, TypeError):
        return None  # empty: nobody holds it, or its holder is about to write
    known = isinstance(holder.pid, int) and isinstance(holder.host, str) and isinstance(holder.started, str)
    return holder if known else None


def _write(handle: int, holder: Holder) -> None:
    os.lseek(handle, 0, os.SEEK_SET)
    os.ftruncate(handle, 0)
    os.write(handle, json.dumps(asdict(holder)).encode())


def _refusal(folder: Path, holder: Holder | None) -> RunLockedError:
    return RunLockedError(
        f"{folder} is being written by {holder or 'another process'}",
        fix="Wait until it is done, or take another folder",
    )
