"""`edgekd export --on` against a real sshd on loopback, with its own keys and configuration."""

from __future__ import annotations

import getpass
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from calibration.errors import EdgekdError, MissingRuntimeError, UsageError
from edgekd.cli.app import run
from edgekd.remote.answers import pack_command, unpack
from edgekd.remote.board import Board
from edgekd.steps import on_board
from targets.board.manifest import manifest_digest

pytest.importorskip("onnxruntime", reason="the board of these tests runs the bundle with onnxruntime")

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


def export(server: Server, *arguments: str) -> int:
    common = ["--target", "onnxruntime", "--precision", "int8"]
    return run(["export", "small", "--on", server.address, *(arguments or common)])


def test_it_builds_tests_and_measures_there_and_brings_the_result_back(
    exported_run: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(server, "--target", "onnxruntime", "--json") == 0
    out, err = capsys.readouterr()
    value = json.loads(out)
    assert [row["precision"] for row in value["rows"]] == ["fp32", "int8"]
    assert all(row["error"] < row["tolerance"] and row["p50_ms"] > 0 for row in value["rows"])
    kept = json.loads((Path(value["kept"]) / "result.json").read_text())
    assert kept["rows"] == value["rows"] and kept["address"] == server.address
    assert Path(value["there"]).is_relative_to(server.home) and (Path(value["there"]) / "run.py").is_file()
    assert "int8: self-test passed" in err and err.splitlines()[-1] == "Next: edgekd check runs/small"
    assert [path.name for path in next(server.bundles.iterdir()).iterdir()] == ["small"]  # nothing else is left
    assert export(server, "--target", "onnxruntime") == 0
    assert "is already on " in capsys.readouterr().err  # the bundle is not sent twice
    there = Path(value["there"])
    (there / "manifest.json").unlink()  # as if someone had begun to tidy up, and while it was unpacked
    (there.parent / ".unpacking" / "small").mkdir(parents=True)
    assert export(server, "--target", "onnxruntime") == 0
    assert [path.name for path in there.parent.iterdir()] == ["small"] and (there / "manifest.json").is_file()
    assert run(["check", "small"]) == 0  # the run is whole


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


def test_a_self_test_that_fails_there_is_the_outcome(
    exported_run: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one precision among others it is reported beside their results; of the only one it is the error."""
    both = ("--target", "onnxruntime", "--json")
    assert export(server) == export(server, *both) == 0
    for path in server.bundles.glob("*/small/manifest.json"):
        manifest = json.loads(path.read_text())
        for model in manifest["models"]:
            model["tolerance"] = 1e-12 if model["precision"] == "int8" else model["tolerance"]
        path.write_text(json.dumps({**manifest, "digest": manifest_digest(manifest)}))
    assert export(server) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "The self-test of int8 failed" in last and "0.00% allowed" in last
    assert export(server, *both) == 0
    shown = capsys.readouterr()
    assert f"On {server.address}: The self-test of int8 failed" in shown.err and "0.00% allowed" in shown.err
    assert [row["precision"] for row in json.loads(shown.out)["rows"]] == ["fp32"]


def test_a_board_on_which_nothing_passes_ends_in_an_error_and_what_was_measured_before_stays(
    exported_run: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ("--target", "onnxruntime", "--json")
    assert export(server, *both) == 0
    (kept,) = exported_run.glob("boards/*/result.json")
    before = kept.read_bytes()
    for path in server.bundles.glob("*/small/manifest.json"):
        manifest = json.loads(path.read_text())
        for model in manifest["models"]:
            model["tolerance"] = 1e-12
        path.write_text(json.dumps({**manifest, "digest": manifest_digest(manifest)}))
    assert export(server, *both) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "The self-test of" in line]
    assert len(said) == 2 and said[-1].startswith(f"Error: On {server.address}: ")
    assert kept.read_bytes() == before


def test_what_a_bashrc_says_first_is_not_the_answer(
    exported_run: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    (server.home / ".bashrc").write_text("echo Welcome to this board\n")
    if not Board(server.address).ask("true").out:
        pytest.skip("the login shell here reads no .bashrc for a command")
    assert export(server, "--target", "onnxruntime", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert [row["precision"] for row in value["rows"]] == ["fp32", "int8"]
    assert json.loads((Path(value["kept"]) / "result.json").read_text())["rows"] == value["rows"]


ROW = '{"precision": "int8", "runtime": "a runtime", "error": 0.01, "p50_ms": 1, "p90_ms": 2, "p99_ms": 3}'
RESULT = f'{{"failed": [], "rows": [{ROW}], "machine": {{"board": "a board", "machine": "aarch64"}}}}'
LINK = "import os; os.makedirs('engines'); os.symlink('/etc/passwd', 'engines/link')"


@pytest.mark.parametrize(
    ("there", "says"),
    [
        ("echo '{}'", "gave no result (KeyError('failed'))"),
        ("echo '[]'", "gave no result (ValueError"),
        ("""echo '{"failed": [{}]}'""", "gave no result (KeyError('message'))"),
        ("""echo '{"failed": []}'""", "gave no result (KeyError('rows'))"),
        ("""echo '{"failed": [], "rows": [{}]}'""", "gave no result (KeyError('precision'))"),
        ("""echo '{"failed": [], "rows": [], "machine": "x"}'""", "gave no result (AttributeError"),
        (f"""{sys.executable} -c "{LINK}"; echo '{RESULT}'""", "engines/link is not a file inside its folder"),
    ],
)
def test_what_cannot_be_read_of_what_comes_back_is_one_line(
    exported_run: Path, server: Server, capsys: pytest.CaptureFixture[str], there: str, says: str
) -> None:
    server.program("python3", f'case "$*" in *run.py*) {there};; *) {PYTHON};; esac')
    assert export(server) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("Error: ") and says in last
    assert not list(exported_run.glob("boards/*"))


def test_what_the_board_says_is_shown_and_that_no_engines_came_back(
    exported_run: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "echo 'The GPU is warm' >&2; echo 'Building the int8 engine: minutes' >&2"
    server.program("python3", f"""case "$*" in *run.py*) {said}; echo '{RESULT}';; *) {PYTHON};; esac""")
    assert export(server) == 0
    out, err = capsys.readouterr()
    assert f"No engines came back from {server.address}" in err
    assert "The GPU is warm" in err and "Building the int8 engine" not in err  # the task shows that it builds
    (row,) = (line.split() for line in out.splitlines() if line.split()[:1] == ["int8"])
    assert row == ["int8", "1.000%", "1.00", "2.00", "3.00", "a", "runtime"]
    assert "a board; self-test" in out


def test_the_command_that_brings_a_damaged_result_back_is_the_one_that_was_given(
    exported_run: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.program("python3", f"""case "$*" in *run.py*) echo '{RESULT}';; *) {PYTHON};; esac""")
    assert export(server) == 0
    (kept,) = exported_run.glob("boards/*/result.json")
    kept.write_text("")
    capsys.readouterr()
    assert run(["verify", "small"]) == 1
    again = f"edgekd export runs/small --on {server.address} --target onnxruntime --precision int8"
    assert capsys.readouterr().err.splitlines()[-1].endswith(again)


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


@pytest.mark.parametrize(("address", "ssh_is_given"), [("me@[::1]:22", "-p 22 me@::1"), ("[fe80::1]", "fe80::1")])
def test_an_address_of_numbers_loses_its_brackets(
    address: str, ssh_is_given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\necho "$@"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("EDGEKD_SSH", str(ssh))
    assert Board(address).ask("true").out.decode().endswith(f" {ssh_is_given} true\n")


def test_ssh_asks_nobody_for_a_password_and_waits_for_no_board_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ssh -G` prints what it would do."""
    if shutil.which("ssh") is None:
        pytest.skip("no ssh is installed: apt install openssh-client")
    monkeypatch.setenv("EDGEKD_SSH", "ssh -F none -G")
    told = dict(line.partition(" ")[::2] for line in Board("me@board:2222").ask("true").out.decode().splitlines())
    assert (told["user"], told["hostname"], told["port"], told["batchmode"]) == ("me", "board", "2222", "yes")
    assert int(told["serveraliveinterval"]) * int(told["serveralivecountmax"]) == 30 > int(told["connecttimeout"]) > 0


def test_a_name_that_nobody_has_and_an_ssh_that_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("ssh") is not None:
        with pytest.raises(MissingRuntimeError, match=r"Cannot reach me@nobody\.invalid \(.*resolve"):
            Board("me@nobody.invalid").ask("true")
    (tmp_path / "ssh").write_text("#!/bin/sh\nkill -9 $$\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("EDGEKD_SSH", str(tmp_path / "ssh"))
    with pytest.raises(MissingRuntimeError, match="me@board was lost"):
        Board("me@board").ask("true")


def test_an_ssh_that_cannot_be_read_is_one_line_and_an_empty_one_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # holds no ssh
    for given, code, says in (
        ("ssh -i 'key", 2, "EDGEKD_SSH cannot be read (No closing"),
        (" ", 3, "ssh cannot be started (No such file or directory). Install it: apt install"),
    ):
        monkeypatch.setenv("EDGEKD_SSH", given)
        with pytest.raises(EdgekdError, match=re.escape(says)) as raised:
            Board("me@board").ask("true")
        assert raised.value.exit_code == code


@pytest.mark.parametrize(
    "address",
    ["-oProxyCommand=x", "-Fevil@host", ".me@host", "a b", "user@", "host:port", "u@h:0", "u@h:99999", "", "u@h;ls"],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="not a board address"):
        Board(address)
