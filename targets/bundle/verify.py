"""Whether a bundle is intact, as a folder or as the archive that was sent, without unpacking it."""

from __future__ import annotations

import hashlib
import itertools
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from calibration.errors import EdgekdError, FileError
from calibration.files import fault_of, inside, read_json
from targets.board.manifest import FORMAT, manifest_digest

__all__ = ["MANIFEST", "bundle_faults", "is_bundle", "is_bundle_archive"]

MANIFEST = "manifest.json"
_AGAIN = "Copy the bundle again, or rebuild it: edgekd bundle"
_LARGEST_MANIFEST = 64 << 20  # bytes
_EARLY = 8  # members of an archive among which a bundle's manifest is: they are sorted


def is_bundle(path: Path) -> bool:
    """Whether `path` is a bundle's archive, or a folder whose manifest is a bundle's."""
    if path.is_file():
        return path.name.endswith((".tar.gz", ".tgz"))
    try:
        value = read_json(path / MANIFEST)
    except FileError:
        return False
    return isinstance(value, dict) and "selftest" in value


def is_bundle_archive(path: Path) -> bool:
    """Whether a file holds a bundle, whatever its name. Of a large archive of something else little is read."""
    try:
        with tarfile.open(path, "r|gz") as stream:
            for member in itertools.islice(stream, _EARLY):
                if _name(member) == MANIFEST and member.isfile() and member.size <= _LARGEST_MANIFEST:
                    content = stream.extractfile(member)
                    value = json.loads(content.read()) if content is not None else None
                    return isinstance(value, dict) and "selftest" in value
    except Exception:  # gzip, zlib and tarfile raise several unrelated types
        return False
    return False


def bundle_faults(path: Path) -> tuple[list[FileError], int]:
    """An error for each file of the bundle that is missing or altered, and the number of files checked.

    Raises FileError when the manifest cannot be read, names a file outside the bundle, or was altered itself.
    """
    if path.is_file():
        return _archive_faults(path)
    manifest = read_json(path / MANIFEST)
    return _faults(path, manifest, lambda name, digest: fault_of(inside(path, name), digest))


def _faults(path: Path, manifest: Any, fault: Callable[[str, str], str | None]) -> tuple[list[FileError], int]:
    files = _files(path, manifest)
    found = [(name, fault(name, digest)) for name, digest in files.items()]
    return [FileError(f"{path}: {name} {said}", fix=_AGAIN) for name, said in found if said is not None], len(files)


def _files(path: Path, manifest: Any) -> Mapping[str, str]:
    try:
        files = {str(name): str(digest) for name, digest in manifest["files"].items()}
        digest, stated, written = manifest_digest(manifest), manifest["digest"], manifest["format"]
    except (KeyError, TypeError, AttributeError) as error:
        raise FileError(f"{path}: {MANIFEST} is not a bundle's manifest ({error!r})", fix=_AGAIN) from error
    if written != FORMAT:
        raise FileError(f"{path}: {MANIFEST} has format {written}; this version of edgekd reads {FORMAT}", fix=_AGAIN)
    if digest != stated:
        raise FileError(f"{path}: {MANIFEST} was altered: its digest does not match", fix=_AGAIN)
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise FileError(f"{path}: {MANIFEST} names the file {name!r}, which lies outside it", fix=_AGAIN)
    return files


def _name(member: tarfile.TarInfo) -> str:
    """Its path inside the bundle's folder."""
    return "/".join(PurePosixPath(member.name).parts[1:])


def _archive_faults(path: Path) -> tuple[list[FileError], int]:
    """Read the archive once, front to back; its members are hashed, never written."""
    digests: dict[str, str] = {}
    manifest: Any = None
    try:
        with tarfile.open(path, "r|gz") as stream:
            for member in stream:
                name = _name(member)
                content = stream.extractfile(member) if member.isfile() else None
                if content is None:
                    continue
                if name == MANIFEST:
                    if member.size > _LARGEST_MANIFEST:
                        raise FileError(f"{path}: its {MANIFEST} has {member.size} bytes", fix=_AGAIN)
                    manifest = json.loads(content.read())
                    continue
                digest = hashlib.sha256()
                while block := content.read(1 << 20):
                    digest.update(block)
                digests[name] = digest.hexdigest()
    except EdgekdError:
        raise
    except Exception as error:  # gzip, zlib and tarfile raise several unrelated types
        raise FileError(f"{path} is truncated or not a bundle ({error})", fix=_AGAIN) from error
    if manifest is None:
        raise FileError(f"{path} is not a bundle: it holds no {MANIFEST}", fix="Make one: edgekd bundle")

    def fault(name: str, digest: str) -> str | None:
        if name not in digests:
            return "is missing"
        return None if digests[name] == digest else "was altered or truncated after it was made"

    return _faults(path, manifest, fault)
