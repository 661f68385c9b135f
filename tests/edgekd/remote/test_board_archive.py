"""The archive that a board sends back: its files are written, and none outside their folder."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from edgekd.remote.answers import pack_command, unpack


def _archive(*members: tuple[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size = (tarfile.REGTYPE, len(content)) if content else (tarfile.SYMTYPE, 0)
            member.linkname = "result.json"
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


def _sent(folder: Path, archive: bytes) -> bytes:
    """The output of the command that packs on the board, with `archive` in place of tar's output."""
    (folder / "tar").write_text(f"#!/bin/sh\nexec cat {folder}/archive\n")
    (folder / "tar").chmod(0o755)
    (folder / "archive").write_bytes(archive)
    path = f"{folder}:{os.environ['PATH']}"
    command = ["sh", "-c", pack_command(str(folder), "engines")]
    return b"Welcome\n" + subprocess.run(command, env={"PATH": path}, capture_output=True, check=True).stdout


def test_files_of_an_archive_are_written(tmp_path: Path) -> None:
    archive = _archive(("result.json", b"{}"), ("engines/deep/int8.engine", b"\x00\xff"))
    unpack(_sent(tmp_path, archive), tmp_path / "kept")
    assert (tmp_path / "kept" / "engines" / "deep" / "int8.engine").read_bytes() == b"\x00\xff"


@pytest.mark.parametrize(
    "archive",
    [
        _archive(("../outside", b"x")),
        _archive(("/tmp/outside", b"x")),
        _archive(("engines/link", b"")),
        _archive(("engines/a", b"x" * 2000))[:1000],
        b"no archive at all",
    ],
)
def test_an_archive_reaches_no_file_outside_and_is_whole(archive: bytes, tmp_path: Path) -> None:
    with pytest.raises(tarfile.TarError):
        unpack(_sent(tmp_path, archive), tmp_path / "kept")
    assert not (tmp_path / "outside").exists() and not list(tmp_path.rglob("kept/**/link"))
