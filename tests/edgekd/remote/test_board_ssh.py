"""How a board is reached by ssh: addresses, the options that ssh is given, and an ssh that fails."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from calibration.errors import EdgekdError, MissingRuntimeError, UsageError
from edgekd.remote.board import Board


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
