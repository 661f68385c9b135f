"""`edgekd export --on` against a real sshd on loopback: what is measured there and what comes back."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from ssh_server import PYTHON, Server, export

from edgekd.cli.app import run
from edgekd.remote.board import Board
from targets.board.manifest import manifest_digest

pytest.importorskip("onnxruntime", reason="the board of these tests runs the bundle with onnxruntime")


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
