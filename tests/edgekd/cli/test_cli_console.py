"""What is printed, and where."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekd.cli import bars
from edgekd.cli.bars import Lines
from edgekd.cli.console import Console
from edgekd.cli.tables import Table, render, size_text

TABLE = Table(("artefact", "drift"), [("onnxruntime-int8" * 8, "0.012")], right=(1,), title="Drift")


def test_data_goes_to_stdout_and_everything_else_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.note("a note")
    console.result({"a": 1}, TABLE)
    console.next_command("bench", Path("my runs/x"))
    console.failure("it\nfailed")
    out, err = capsys.readouterr()
    assert "0.012" in out and "a note" not in out
    assert err == "a note\nNext: edgekd bench 'my runs/x'\nError: it failed\n"


def test_a_path_in_an_error_can_be_copied(capsys: pytest.CaptureFixture[str]) -> None:
    Console().failure("runs/two  spaces is damaged.\n Rebuild it: edgekd distill --out 'runs/two  spaces'")
    assert capsys.readouterr().err == (
        "Error: runs/two  spaces is damaged. Rebuild it: edgekd distill --out 'runs/two  spaces'\n"
    )


def test_no_name_of_a_file_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.text import Text

    console, name = Console(), "data\x1b[31m\x07/index.csv"
    console.note(name)
    with console.task(f"Evaluating on {name}", total=1) as advance:
        advance(1)
    console.result({}, Table(("picture",), [(name,)]), Text(f"4 images of {name}"))
    console.next_command("verify", name)
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err and "\x07" not in out + err
    assert out.count("/index.csv") == 2 and err.count("/index.csv") == 3


def test_with_json_there_is_nothing_but_json_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.json = True
    console.result({"a": [1, 2]}, TABLE)
    assert capsys.readouterr().out == '{\n  "a": [\n    1,\n    2\n  ]\n}\n'


def test_a_table_in_a_file_is_never_cut() -> None:
    text = render(TABLE, io.StringIO())
    assert "onnxruntime-int8" * 8 in text and "\x1b" not in text


def test_a_log_hears_of_long_work_and_of_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bars, "_FIRST_LINE", 0.3)
    with Lines().task("Distilling", 200, every=0.3) as advance:
        advance(100)  # done by an earlier command: must not count for the speed
        time.sleep(0.25)
        advance(50)
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 2  # not silent, although one unit takes long
    assert lines[0].startswith("Distilling: 75% (150/200)") and "left" in lines[0]
    assert lines[-1] == "Distilling: 200 in 0:01" or lines[-1].startswith("Distilling: 150 in 0:0")


def test_work_of_unknown_length_is_heard_of_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bars, "_FIRST_LINE", 0.05)
    with Lines().task("Building", None):
        time.sleep(0.2)
    assert capsys.readouterr().err.splitlines() == ["Building: 0:00 so far", "Building: done in 0:00"]


def test_an_error_ends_a_task_without_a_word_of_success(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), Lines().task("Building", 3):
        raise ZeroDivisionError
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_bars_and_notes_above_them() -> None:
    code = (
        "from edgekd.cli.console import console\n"
        "with console.task('Exporting', 4) as advance:\n"
        "    advance(1)\n"
        "    with console.task('Calibrating', 2) as inner:\n"
        "        inner(2)\n"
        "        console.note('openvino is left out')\n"
        "    advance(3)\n"
        "console.failure('too bad')\n"
    )
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    environment.pop("NO_COLOR", None)
    subprocess.run([sys.executable, "-c", code], stderr=follower, stdout=subprocess.PIPE, env=environment, check=True)
    os.close(follower)
    shown = b""
    while True:
        try:
            block = os.read(leader, 1 << 16)
        except OSError:
            break
        if not block:
            break
        shown += block
    os.close(leader)
    text = shown.decode()
    assert "Exporting" in text and "100%" in text and "4/4" in text
    assert "openvino is left out" in text
    assert "\x1b[31mError: too bad" in text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1234, "1.2 kB"), (5_800_000, "5.8 MB"), (3 * 10**9, "3.0 GB")]
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize("terminal", ["xterm", "dumb"])
def test_a_terminal_too_narrow_for_a_table_loses_nothing(terminal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    table = Table(
        ("artefact", "size", "drift\n↓", "< 1 %\n↑", ""),
        [("onnxruntime-int8", "0.8 MB", "0.0026", "0.98 to 0.99", "OVER BUDGET")],
        right=(1, 2, 3),
        caption="drift: of depth from fp32, on sixteen pictures that were held out",
    )
    monkeypatch.setenv("TERM", terminal)
    for columns in range(40, 121):
        monkeypatch.setenv("COLUMNS", str(columns))
        text = re.sub(r"\x1b\[[0-9;]*m", "", render(table, Terminal()))
        assert max(map(len, text.splitlines())) <= columns
        words = " ".join(text.split())
        for part in ("onnxruntime-int8", "0.8 MB", "0.0026", "0.98 to 0.99", "OVER", "BUDGET", "that were held out"):
            assert part in words, (columns, part)
