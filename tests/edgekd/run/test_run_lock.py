"""One writer per folder, tested with processes that are really started and killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from notes import Notes

from calibration.errors import RunLockedError
from edgekd.run import Run, locked
from edgekd.run import lock as lock_module
from edgekd.run.lock import writer_of

HOLD = """
import sys, time
from pathlib import Path
from edgekd.run import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of tmp_path / 'run'."""
    Run.create(tmp_path / "run")
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "run"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("content", ['{"pid": 1, "host": "x", "started": 5}', '{"pid": "1", "host": 2}', "[]", "\x00"])
def test_a_lock_that_was_damaged_holds_nobody_back(tmp_path: Path, content: str) -> None:
    (tmp_path / lock_module.LOCK).write_text(content)
    with locked(tmp_path):
        assert str(os.getpid()) in (tmp_path / lock_module.LOCK).read_text()
    assert (tmp_path / lock_module.LOCK).read_text() == ""


def test_a_second_process_is_refused_with_the_name_of_the_first(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    run = Run.open(tmp_path / "run")
    with pytest.raises(RunLockedError) as caught, run.lock():
        raise AssertionError("the lock was given twice")
    assert f"process {holder.pid} on {socket.gethostname()}" in str(caught.value)
    # The refusal must not have removed the first process's name.
    with pytest.raises(RunLockedError, match=str(holder.pid)), run.lock():
        pass


def test_reading_needs_no_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    assert Run.open(tmp_path / "run").manifest.steps == {}


def test_a_killed_process_leaves_no_lock_and_that_is_said(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    notes = Notes()
    with locked(tmp_path / "run", notes):
        assert json.loads((tmp_path / "run" / ".lock").read_text())["pid"] == os.getpid()
    assert len(notes.said) == 1 and f"process {holder.pid}" in notes.said[0]
    with locked(tmp_path / "run", notes):
        pass
    assert len(notes.said) == 1  # a released lock is not mentioned


def test_whoever_is_writing_is_named_until_it_ends_or_is_killed(
    tmp_path: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = writer_of(tmp_path / "run")
    assert writer is not None and (writer.pid, writer.host) == (holder.pid, socket.gethostname())
    with pytest.raises(RunLockedError, match=str(holder.pid)), locked(tmp_path / "run"):
        pass  # looking did not take the lock away
    holder.kill()
    holder.wait()
    assert writer_of(tmp_path / "run") is None
    monkeypatch.setattr(lock_module.Holder, "gone", False)  # as where another process has its number by now
    assert writer_of(tmp_path / "run") is None
    with locked(tmp_path / "run"):
        pass
    assert writer_of(tmp_path / "run") is None and writer_of(tmp_path / "nothing") is None


def test_one_that_waits_goes_on_once_the_other_is_done(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    notes = Notes()
    ends = threading.Timer(0.5, holder.kill)
    ends.start()
    with locked(tmp_path / "run", notes, wait=60):
        assert holder.wait(timeout=0.1) is not None
    assert f"process {holder.pid}" in notes.said[0] and notes.said[0].endswith("waiting for it")


def test_one_that_waited_in_vain_is_refused(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(RunLockedError, match=str(holder.pid)), locked(tmp_path / "run", wait=0.3):
        pass
    assert holder.poll() is None


def test_the_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass


class TestWithoutLocksOfTheKernel:
    """On file systems without flock, the name in the file decides."""

    @pytest.fixture(autouse=True)
    def no_flock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lock_module, "_acquire", lambda handle, folder: False)

    def test_a_living_process_is_respected(self, tmp_path: Path) -> None:
        with locked(tmp_path), pytest.raises(RunLockedError, match=str(os.getpid())), locked(tmp_path):
            pass

    def test_one_that_is_gone_is_not(self, tmp_path: Path) -> None:
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        holder = {"pid": gone.pid, "host": socket.gethostname(), "started": "2026-01-01T00:00:00+00:00"}
        (tmp_path / ".lock").write_text(json.dumps(holder))
        notes = Notes()
        with locked(tmp_path, notes):
            pass
        assert str(gone.pid) in notes.said[0]

    def test_the_name_in_the_file_is_the_writers(self, tmp_path: Path) -> None:
        with locked(tmp_path):
            writer = writer_of(tmp_path)
        assert writer is not None and writer.pid == os.getpid()
        assert writer_of(tmp_path) is None

    def test_one_on_another_host_may_be_alive(self, tmp_path: Path) -> None:
        holder = {"pid": 1, "host": "elsewhere", "started": "2026-01-01T00:00:00+00:00"}
        (tmp_path / ".lock").write_text(json.dumps(holder))
        with pytest.raises(RunLockedError, match="elsewhere"), locked(tmp_path):
            pass
