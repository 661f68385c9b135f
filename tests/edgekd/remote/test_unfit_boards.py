"""Boards that cannot be reached, break off, or lack what a bundle needs: each is told in one line."""

from __future__ import annotations

import getpass
import json
import shutil
import socket
from pathlib import Path

import pytest
from ssh_server import PYTHON, Server, export

from edgekd.cli.app import run

pytest.importorskip("onnxruntime", reason="the board of these tests runs the bundle with onnxruntime")


def test_a_board_that_asks_for_a_password(
    exported_run: Path, server: Server, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = server.folder / "ssh_config"
    client.write_text(client.read_text().replace(f"{keys}/user", f"{keys}/stranger"))
    assert export(server) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert "accepts none of your SSH keys" in last
    assert last.endswith(f"ssh-copy-id -p {server.port} {getpass.getuser()}@127.0.0.1")


def test_a_board_whose_host_key_has_changed(
    exported_run: Path, server: Server, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (server.folder / "known").write_text(f"[127.0.0.1]:{server.port} {(keys / 'stranger.pub').read_text()}")
    assert export(server) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"The host key of {server.address} is unknown or has changed. Check it: ssh -p {server.port} " in last


def test_a_disk_that_fills_up_while_the_bundle_is_sent(
    exported_run: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.program("cat", f"exec {shutil.which('cat')} > /dev/full")
    assert export(server) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"{server.address} cannot write {server.bundles}" in last and "No space left" in last
    assert last.endswith("Free some space there, or fix its disk.")


def test_a_board_that_is_not_there(exported_run: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert (
            run(["export", "small", "--on", f"x@127.0.0.1:{nobody.getsockname()[1]}", "--target", "onnxruntime"]) == 3
        )
    assert "Cannot reach" in capsys.readouterr().err.splitlines()[-1]
    assert not (exported_run / "bundle").exists()  # told before minutes of building


@pytest.mark.parametrize("begins", ["run.py", "sha256"])
def test_a_connection_that_breaks_off_half_way_goes_on_with_the_same_command(
    exported_run: Path, server: Server, capsys: pytest.CaptureFixture[str], begins: str
) -> None:
    # Kills the session's own sshd: to the network it looks like a pulled cable.
    up = "p=$(sed -n 's/^PPid:[^0-9]*//p' /proc/$p/status)"
    kill = f"p=$PPID; until grep -q sshd /proc/$p/comm; do {up}; done; kill -9 $p"
    server.program("python3", f'case "$*" in *{begins}*) {kill};; esac\n{PYTHON}')
    assert export(server) == 3
    assert "was lost" in capsys.readouterr().err.splitlines()[-1]
    assert not list(exported_run.glob("boards/*"))
    server.program("python3", PYTHON)
    assert export(server) == 0


LOOK = '{"machine": "%s", "python": [%s], "numpy": %s, "home": "/", "free": %s}'


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (LOOK % ("armv7l", "3, 9", '"1.2"', 10**12), 1, "is armv7l; a bundle runs on 64-bit Arm and x86"),
        (LOOK % ("aarch64", "3, 6", '"1.2"', 10**12), 3, "has Python 3.6; a bundle needs 3.8"),
        (LOOK % ("aarch64", "3, 8", "null", 10**12), 3, "has no numpy"),
        (LOOK % ("aarch64", "3, 8", '"1.2"', 10**6), 3, "has 0 MB free"),
        ("what?", 3, "cannot start python3"),
    ],
)
def test_a_board_that_cannot_run_it_is_told_before_anything_is_sent(
    exported_run: Path, server: Server, capsys: pytest.CaptureFixture[str], answer: str, code: int, says: str
) -> None:
    server.program("python3", f"echo '{answer}'")
    assert export(server) == code
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert not server.bundles.exists()


def test_a_full_disk_does_not_matter_where_the_bundle_already_is(
    exported_run: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(server) == 0
    full = json.dumps({"machine": "aarch64", "python": [3, 8], "numpy": "1.2", "home": str(server.home), "free": 0})
    server.program("python3", f"case \"$*\" in *disk_usage*) echo '{full}'; exit;; esac\n{PYTHON}")
    capsys.readouterr()
    assert export(server) == 0
    assert "is already on " in capsys.readouterr().err
    next(server.bundles.glob("*/small/manifest.json")).unlink()
    assert export(server) == 3
    assert "has 0 MB free, but the bundle and its engines may need" in capsys.readouterr().err.splitlines()[-1]


def test_a_board_without_python(exported_run: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    (server.programs / "python3").unlink()
    assert export(server) == 3
    assert "cannot start python3" in capsys.readouterr().err.splitlines()[-1]


def test_a_board_that_runs_out_of_memory_is_no_lost_connection(
    exported_run: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = "echo 'Building the int8 engine: minutes' >&2; kill -9 $$"
    server.program("python3", f'case "$*" in *run.py*) {killed};; *) {PYTHON};; esac')
    assert export(server) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"Error: run.py was killed on {server.address}") and "memory ran out. Close other" in last


def test_a_board_without_the_runtime_says_what_brings_it(
    exported_run: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("TensorRT may be here")
    assert export(server, "--target", "tensorrt", "--precision", "fp32") == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"On {server.address}: tensorrt is not installed" in last and "sudo apt install" in last
