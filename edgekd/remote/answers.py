"""What comes back from a board, which may be anything: its .bashrc may print first, its disk may be damaged."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

__all__ = ["last_line", "last_object", "pack_command", "unpack"]

_BEGINS = "edgekd: the archive begins"


def last_object(out: bytes) -> Mapping[str, Any]:
    """The JSON object printed last. Raises ValueError when there is none."""
    text = out.decode(errors="replace")
    value = json.loads(text[text.rfind("\n{") + 1 :])
    if not isinstance(value, dict):
        raise ValueError(f"it is a {type(value).__name__}")
    return value


def last_line(said: str, otherwise: str = "") -> str:
    """The line printed last, or `otherwise`."""
    return (said.strip().splitlines() or [otherwise])[-1].strip()


def pack_command(folder: str, *names: str) -> str:
    """A shell command that writes an archive of those files or folders `names` that exist in `folder`."""
    listed = f"$(ls -d {shlex.join(names)} 2>/dev/null)"
    return f"cd {shlex.quote(folder)} && echo {shlex.quote(_BEGINS)} && tar -cf - {listed}"


def unpack(out: bytes, folder: Path) -> None:
    """Unpack such an archive. Raises tarfile.TarError for a damaged one, or for links and paths that lead out.

    The filter of tarfile's own extractall is missing in Python before 3.10.12 and in 3.11.0 to 3.11.3.
    """
    with tarfile.open(fileobj=io.BytesIO(out.partition(f"{_BEGINS}\n".encode())[2]), mode="r:") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                raise tarfile.ExtractError(f"{member.name} is not a file inside its folder")
            target = folder / path
            source = tar.extractfile(member)
            if source is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "xb") as stream:
                shutil.copyfileobj(source, stream)
