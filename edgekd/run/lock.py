"""One writer per folder: a lock file that names its holder, and that the kernel releases when the process dies."""

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

__all__ = ["LOCK", "Holder", "locked", "writer_of"]

LOCK = ".lock"
"""The lock file's name. The file stays, empty, when nobody is writing."""

_QUIET = Quiet()
_POLL = 0.2  # seconds between two attempts to take the lock


@dataclass(frozen=True)
class Holder:
    """The process that is writing to a folder."""

    pid: int
    host: str
    started: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.started[:19].replace('T', ' ')} UTC"

    @property
    def gone(self) -> bool:
        """Whether the process has certainly ended, which is known on this host only."""
        if self.host != socket.gethostname() or os.name != "posix":
            return False
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):  # the second: no process can have this number
            return True
        except PermissionError:
            return False
        return False


@contextlib.contextmanager
def locked(folder: Path, progress: Progress = _QUIET, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the folder's lock. One left by a dead process is taken over, with a note.

    Raises RunLockedError naming the process that still holds it after `wait` seconds, FileError when it cannot be
    written.
    """
    path = Path(folder) / LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        read_only = path.with_name(RUN).exists()
        fix = f"Work on a copy of {folder}" if read_only else "Choose a writable folder"
        raise FileError(f"Cannot write {path}: {error.strerror}", fix=fix) from error
    try:
        _take_within(wait, handle, folder, progress)
        try:
            yield
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)  # closing releases the lock


def writer_of(folder: Path) -> Holder | None:
    """The process that is writing to the folder; None if there is none, or only the name of one that was killed.

    For a few microseconds it takes the lock itself, but only where a name was left and nobody holds it.
    """
    try:
        handle = os.open(Path(folder) / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        left = _read(handle)
        if left is None or left.gone:
            return None
        return None if _acquire(handle, folder) else left
    except RunLockedError:
        return left
    finally:
        os.close(handle)


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
    """Take the lock and write this process into it as the holder. Raises RunLockedError."""
    by_kernel = _acquire(handle, folder)
    left = _read(handle)
    if not by_kernel and left is not None and not left.gone:
        raise _refusal(folder, left)
    if left is not None:
        progress.note(f"The last writer of {folder} did not finish ({left}); resuming from what it left")
    _write(handle, Holder(os.getpid(), socket.gethostname(), now()))


def _acquire(handle: int, folder: Path) -> bool:
    """Whether the kernel granted the lock. False where it has no such locks (Windows, some network file systems).

    The holder named in the file then decides alone. Raises RunLockedError when another process has the lock.
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
        fix="Wait until it is done, or choose another folder",
    )
