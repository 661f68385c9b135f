"""Files that are either complete or absent: digests, and writing to a temporary file that is renamed into place."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from calibration.errors import DiskFullError, FileError
from calibration.reasons import make_room

__all__ = [
    "clear_remains",
    "fault_of",
    "inside",
    "name_of",
    "read_json",
    "remove_abandoned",
    "remove_remains",
    "replacing",
    "replacing_folder",
    "require_writable",
    "sha256_bytes",
    "sha256_file",
    "write_bytes",
    "write_json",
]


_UNRELATED = (errno.ENOMEM, errno.EPIPE, errno.EMFILE, errno.ENFILE)
_INVALID_NAME = (errno.ENAMETOOLONG, errno.EINVAL)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NUMPY_DISK_FULL = re.compile(r"Not enough free space|\d+ requested and \d+ written")
"""numpy writes arrays in C and raises an OSError without errno."""


_OLD = ".old"

_WRITING = 60  # seconds without a byte, after which a temporary file is taken for that of a killed process


def inside(folder: Path, name: str) -> Path:
    """`folder`/`name`, checked to be inside the folder. Raises FileError for a name that leads out of it."""
    path = Path(folder) / name
    if (
        not name
        or "\0" in name
        or Path(name).is_absolute()
        or not path.resolve().is_relative_to(Path(folder).resolve())
    ):
        raise FileError(
            f"{folder} names the file {name!r}, which lies outside it", fix="Get a fresh copy from where it came from"
        )
    return path


def name_of(folder: Path) -> str:
    """The folder's real name, even for . and .."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def fault_of(path: Path, sha256: str, size: int | None = None) -> str | None:
    """What is wrong with a file of that digest (and size in bytes), in words; None when it is intact."""
    try:
        there = path.is_file()
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in _INVALID_NAME:
            raise
        there = False  # no file can have this name
    if not there:
        return "is missing"
    found = path.stat().st_size
    if size is not None and found != size:
        return f"has {found} bytes instead of {size}: it was truncated or altered"
    return None if sha256_file(path) == sha256 else "was altered or truncated after it was made"


def sha256_bytes(data: bytes | memoryview) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes. Raises FileError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise FileError(f"Cannot read {path}: {error.strerror}", fix="Check the path and its permissions") from error
    return digest.hexdigest()


@contextlib.contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Turn an OS error about `path` (a full disk, a lost network folder) into a one-line error."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL or _NUMPY_DISK_FULL.search(str(error)):
            what = "The disk or the quota is full" if error.errno != errno.EFBIG else "The file size limit was reached"
            raise DiskFullError(
                f"{what} while writing {path}; what was there before is intact", fix=make_room(error.errno)
            ) from error
        if error.errno in (None, *_UNRELATED):  # not about this file, only raised while it was being written
            raise
        raise FileError(f"Cannot write {path}: {error.strerror}", fix="Choose a writable folder") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path`. On success it is synced and renamed over `path`, on any error removed.

    Raises DiskFullError or FileError; `path` is then unchanged.
    """
    path = Path(path)
    with _explaining(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with open(temporary, "rb+") as stream:
                os.fsync(stream.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def require_writable(path: Path) -> None:
    """Raise what writing `path` would raise, before an hour is spent on its content. The file itself is not changed."""
    if Path(path).is_dir():
        raise FileError(f"Cannot write {path}: it is a folder", fix="Choose a file name inside it")
    with contextlib.suppress(_TriedError), replacing(path):
        raise _TriedError


class _TriedError(Exception):
    """Ends a trial write that works."""


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; on success it replaces `path`, on any error it is removed."""
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise FileError(f"Cannot write {path}: it is a file", fix="Choose another folder")
    with _explaining(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            old = None
            if path.exists():
                old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=_OLD))
                path.replace(old / path.name)
            try:
                temporary.replace(path)
            except BaseException:
                if old is not None:
                    _restore_replaced(old)
                raise
            if old is not None:
                shutil.rmtree(old, ignore_errors=True)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _restore_replaced(old: Path) -> None:
    """Put back the folder that a killed `replacing_folder` left in `old` (.NAME.*.old), unless another has taken its
    place; then remove `old`."""
    for kept in [*old.iterdir()] if old.is_dir() else []:
        if not (old.parent / kept.name).exists():
            kept.replace(old.parent / kept.name)
    shutil.rmtree(old, ignore_errors=True)


def remove_remains(path: Path) -> None:
    """Remove what killed writers of `path` left beside it, and put back a folder that they had moved away.

    For a path that no other process is writing.
    """
    beside, name = Path(path).parent, f".{glob.escape(Path(path).name)}.????????"  # as tempfile names them
    clear_remains(beside.glob(name + _OLD), beside.glob(f"{name}.part"))


def clear_remains(replaced: Iterable[Path], unfinished: Iterable[Path]) -> None:
    """Put back the folders that killed writers had moved away, then remove what they left half-written."""
    for old in list(replaced):
        _restore_replaced(old)
    for stale in list(unfinished):
        shutil.rmtree(stale, ignore_errors=True) if stale.is_dir() else stale.unlink(missing_ok=True)


def remove_abandoned(folder: Path, names: Iterable[str]) -> None:
    """Remove what killed writers of these files left in the folder, but not what another process is writing: for
    folders that have no lock."""
    wanted = set(names)
    for stale in Path(folder).glob(".*.part"):
        with contextlib.suppress(OSError):  # another process was quicker, or this one may not
            if stale.name[1:-14] in wanted and time.time() - stale.stat().st_mtime > _WRITING:
                stale.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON (no NaN or infinity: they are not JSON), completely or not at all."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Parse a JSON file. Raises FileError naming the file when it is missing or truncated, is not JSON,
    or holds a number that is not finite."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except OSError as error:
        raise FileError(f"Cannot read {path}: {error.strerror}", fix="Check the path and its permissions") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is not valid JSON ({error})", fix="Restore the file or recreate it") from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a JSON number")
    return value


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
