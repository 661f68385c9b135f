"""An sshd of a test's own, which stands for a board, and `edgekd export --on` to it."""

from __future__ import annotations

import getpass
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from edgekd.cli.app import run

SSHD = shutil.which("sshd") or next(
    (path for path in ("/usr/sbin/sshd", "/usr/local/sbin/sshd") if Path(path).exists()), None
)
PYTHON = f'exec {sys.executable} "$@"'  # not a link: Python finds its virtual environment by path
TOOLS = ("cat", "env", "ls", "mkdir", "mv", "rm", "sh", "tar", "test", "grep", "gzip", "sed")


@dataclass
class Server:
    """A running sshd and the folder whose programs its sessions see."""

    folder: Path
    port: int
    home: Path
    programs: Path
    address: str = field(init=False)

    def __post_init__(self) -> None:
        self.address = f"{getpass.getuser()}@127.0.0.1:{self.port}"

    def program(self, name: str, script: str) -> None:
        path = self.programs / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    @property
    def bundles(self) -> Path:
        return self.home / ".cache" / "edgekd" / "bundles"


def export(server: Server, *arguments: str) -> int:
    common = ["--target", "onnxruntime", "--precision", "int8"]
    return run(["export", "small", "--on", server.address, *(arguments or common)])
