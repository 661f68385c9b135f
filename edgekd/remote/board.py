"""One board over the system's ssh, with the user's own keys and configuration; it never asks for a password."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from calibration.errors import MissingRuntimeError, UsageError
from calibration.progress import Advance
from edgekd.remote.answers import last_line

__all__ = ["Answer", "Board"]

_OPTIONS = (
    *("-o", "BatchMode=yes"),  # a password cannot be typed into a pipe
    *("-o", "ConnectTimeout=15"),
    *("-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"),  # notices a cable that is pulled out
)
_ADDRESS = re.compile(r"(?P<host>(?:\w[\w.-]*@)?(?:[A-Za-z0-9][\w.-]*|\[[0-9A-Fa-f:]+\]))(?::(?P<port>\d{1,5}))?")
_BROKEN = 255  # ssh's own exit code, which a remote command should not use
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Answer:
    """The result of a command on the board."""

    code: int
    out: bytes
    err: str


class Board:
    """`user@host`, `host` of ~/.ssh/config, or either with `:port`. EDGEKD_SSH replaces `ssh`, such as `ssh -i KEY`."""

    def __init__(self, address: str) -> None:
        found = _ADDRESS.fullmatch(address)
        if found is None or not 0 < int(found["port"] or 22) < 1 << 16:
            raise UsageError(f"{address!r} is not a board address", fix="Use user@host or user@host:port")
        self.address = address
        port = ("-p", found["port"]) if found["port"] else ()
        self._login = re.sub(r"[\[\]]", "", found["host"])  # brackets only set off the port: ssh takes none
        self._where = shlex.join([*port, self._login])  # what a person passes to ssh and ssh-copy-id
        self._ssh = [*_program(), *_OPTIONS, *port, self._login]

    @property
    def name(self) -> str:
        """The address in a form for file names."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.address)

    def ask(self, *words: str) -> Answer:
        """Run a command there. Raises MissingRuntimeError when the board is not reached or the connection breaks."""
        return self._run(shlex.join(words))

    def send(self, path: Path, to: str, advance: Advance) -> None:
        """Write a file there, as `to`. Raises MissingRuntimeError, also when its disk is full."""

        def feed(pipe: int) -> None:
            with open(path, "rb") as stream:
                while block := stream.read(_BLOCK):
                    while block:
                        written = os.write(pipe, block)
                        advance(written)
                        block = block[written:]

        answer = self._run(f"cat > {shlex.quote(to)}", feed=feed)
        if answer.code:
            raise MissingRuntimeError(
                f"{self.address} cannot write {to} ({last_line(answer.err)})",
                fix="Free some space there, or fix its disk",
            )

    def watch(self, command: str, heard: Callable[[str], None]) -> Answer:
        """Run a shell command there; each line of its standard error goes to `heard` as it comes."""
        return self._run(command, heard=heard)

    def _run(
        self, command: str, *, feed: Callable[[int], None] | None = None, heard: Callable[[str], None] | None = None
    ) -> Answer:
        stdin = subprocess.DEVNULL if feed is None else subprocess.PIPE
        try:
            child = subprocess.Popen(
                [*self._ssh, command], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
            )
        except OSError as error:
            raise MissingRuntimeError(
                f"{self._ssh[0]} cannot be started ({error.strerror})", fix="Install it: apt install openssh-client"
            ) from error
        said: list[str] = []
        got: list[bytes] = []
        with child:
            assert child.stdout is not None and child.stderr is not None
            readers = [
                threading.Thread(target=_listen, args=(child.stderr, said, heard), daemon=True),
                threading.Thread(target=_collect, args=(child.stdout, got), daemon=True),
            ]
            for reader in readers:
                reader.start()
            try:
                if feed is not None and child.stdin is not None:
                    with contextlib.suppress(BrokenPipeError):  # ssh has ended: its exit code says why
                        feed(child.stdin.fileno())
                    child.stdin.close()
                child.wait()
            finally:
                if child.poll() is None:
                    child.kill()
                for reader in readers:
                    reader.join()
        answer = Answer(child.returncode, b"".join(got), "\n".join(said))
        if answer.code == _BROKEN or answer.code < 0:
            raise self._unreached(answer.err)
        return answer

    def _unreached(self, said: str) -> MissingRuntimeError:
        """Why there is no connection, from ssh's own messages."""
        last = last_line(said)
        if "Permission denied" in said:
            return MissingRuntimeError(
                f"{self.address} accepts none of your SSH keys, and no password can be typed here ({last})",
                fix=f"Copy your key to it once: ssh-copy-id {self._where}",
            )
        if "verification failed" in said or "IDENTIFICATION HAS CHANGED" in said:
            return MissingRuntimeError(
                f"The host key of {self.address} is unknown or has changed", fix=f"Check it: ssh {self._where}"
            )
        if re.search(r"resolve hostname|refused|timed out|No route|unreachable", said):
            return MissingRuntimeError(
                f"Cannot reach {self.address} ({last})", fix="Check its name and network, and that it is switched on"
            )
        return MissingRuntimeError(
            f"The connection to {self.address} was lost ({last or 'no message'})",
            fix="Run the same command again: a bundle that has arrived is not sent again",
        )


def _program() -> list[str]:
    """The words that start ssh."""
    given = os.environ.get("EDGEKD_SSH", "")
    try:
        return shlex.split(given) or ["ssh"]
    except ValueError as error:
        raise UsageError(
            f"EDGEKD_SSH cannot be read ({error}): {given}", fix="Quote it as in a shell: EDGEKD_SSH=\"ssh -i 'a key'\""
        ) from error


def _listen(stream: object, said: list[str], heard: Callable[[str], None] | None) -> None:
    for line in iter(stream.readline, b""):  # type: ignore[attr-defined]
        text = line.decode(errors="replace").rstrip()
        said.append(text)
        if heard is not None:
            heard(text)


def _collect(stream: object, got: list[bytes]) -> None:
    got.extend(iter(lambda: stream.read(_BLOCK), b""))  # type: ignore[attr-defined]
