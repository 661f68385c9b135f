"""A real sshd on loopback, with its own keys and configuration."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ssh_server import PYTHON, SSHD, TOOLS, Server

from edgekd.steps import on_board


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("no sshd is installed: apt install openssh-server openssh-client")
    folder = tmp_path_factory.mktemp("keys")
    for name in ("host", "user", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    return folder


@pytest.fixture
def server(keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home, programs = tmp_path / "home", tmp_path / "programs"
    for folder in (home, programs):
        folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        if found:
            (programs / tool).symlink_to(found)
    config = tmp_path / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {keys}/host\nAuthorizedKeysFile {keys}/user.pub\n"
        f"PidFile none\nStrictModes no\nPasswordAuthentication yes\nPermitRootLogin yes\n"
        f"SetEnv HOME={home} PATH={programs} XDG_CACHE_HOME={home}/.cache\n"
    )
    client = tmp_path / "ssh_config"
    client.write_text(
        f"Host *\n IdentityFile {keys}/user\n IdentitiesOnly yes\n UserKnownHostsFile {tmp_path}/known\n"
        " StrictHostKeyChecking accept-new\n LogLevel ERROR\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd needs it; normally its service makes it
    daemon = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(config)], stderr=subprocess.PIPE)
    monkeypatch.setenv("EDGEKD_SSH", f"ssh -F {client}")
    monkeypatch.setattr(on_board, "SECONDS", 0.1)
    made = Server(tmp_path, port, home, programs)
    made.program("python3", PYTHON)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if daemon.poll() is not None:
                pytest.skip(f"sshd does not start here: {daemon.stderr.read().decode().strip()}")  # type: ignore[union-attr]
            time.sleep(0.05)
        yield made
    finally:
        daemon.terminate()
        daemon.communicate()
