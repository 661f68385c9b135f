"""Files that are either complete or absent, with a one-line error for whatever goes wrong."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from targets.board.errors import BoardError, MisfitError

__all__ = ["read_bytes", "write_bytes"]


def read_bytes(path: Path | str, fix: str) -> bytes:
    """A file's content. Raises MisfitError with `fix`, how to restore the file, when it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise MisfitError(f"Cannot read {path} ({error.strerror})", "Restore it: " + fix) from error


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write to a temporary file and rename it. Raises BoardError on a full disk or a folder that cannot be written."""
    path = Path(path)
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=str(path.parent), prefix="." + path.name, suffix=".part")
        part = Path(name)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.chmod(0o644)
        part.replace(path)
        part = None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = f"The disk is full while writing {path}" if full else f"Cannot write {path} ({error.strerror})"
        fix = f"Free {len(data) // 1000000 + 1} MB and try again" if full else "Choose a writable folder"
        if error.errno == errno.EFBIG:  # of `ulimit -f`, or of a file system such as FAT32
            fix = "Raise the limit on a file's size (ulimit -f), or choose another disk"
        raise BoardError(what, fix) from error
    finally:
        if part is not None:
            part.unlink()
