"""The program as a whole: how it ends, what it imports, how fast it answers."""

from __future__ import annotations

import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration.errors import BudgetError, MissingRuntimeError
from edgekd.cli.app import run
from edgekd.cli.console import console
from edgekd.cli.options import again

VERBS = (
    *("demo", "distill", "calibrate", "export", "bench", "check", "report", "predict", "simulate"),
    *("statistics", "doctor", "verify"),
)
WITH_TORCH = pytest.mark.skipif(find_spec("torch") is None, reason="without torch that is said first")
EDGEKD = [sys.executable, "-c", "from edgekd.cli.app import main; main()"]


def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "PIL", "rich", "onnx", "onnxruntime", "openvino", "nncf", "tensorrt", "scipy")
    code = (
        "import sys; from edgekd.cli.app import run\n"
        f"for verb in {VERBS!r}: assert run([verb, '--help']) == 0\n"
        f"print(*[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.split() == []


def test_help_answers_within_four_tenths_of_a_second() -> None:
    # Processor time, and the best of three: wall-clock time also measures what else the machine does.
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*EDGEKD, "--help"], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.4


def test_every_verb_is_listed_and_explained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([]) == 0  # no arguments: the help
    listed = capsys.readouterr().out
    for verb in VERBS:
        line = next(line for line in listed.splitlines() if line.split()[:1] == [verb])
        assert len(line) <= 80 and len(line.split()) > 3 and not line.endswith("...")
    assert all(len(line) <= 80 for line in listed.splitlines())


def test_the_version_is_that_of_the_installation(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"edgekd {version('edgekd')}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["exprot"], "export"),
        (["export", "--targt", "x"], "--target"),
        (["distill", "--steps", "many"], "--steps"),
        (["distill", "--steps", "0"], "--steps"),
        (["predict"], "a video or camera"),
        (["predict", "small"], "a video or camera"),
        (["bench", "small", "--protocol", "nyu-eigen"], "--data"),
        (["bench", "small", "--reproduce", "b.json", "--threads", "2"], "--reproduce"),
        (["bench", "small", "--reproduce", "b.json", "--target", "openvino"], "--reproduce"),
        (["predict", "small", "clip.mp4", "--seconds", "2"], "--seconds"),
        (["predict", "small", "room.png", "--frames"], "--frames"),
        (["bundle", "small", "--camera", "²x²"], "640x480"),
        (["export", "small", "--target", "onxruntime"], "onnxruntime"),
        (["bench", "small", "--target", "opnvino"], "openvino"),
        (["bench", "small", "--protocol", "nyu-eigne"], "nyu-eigen"),
        (["export", "smal"], "runs/small"),
        (["export", "small", "--precision", "int4"], "int8"),
        (["simulate", "--look", "photografed"], "photographed"),
        (["calibrate"], "--teacher"),
        pytest.param(["distill", "--images", "20"], "too few", marks=WITH_TORCH),
        pytest.param(["distill", "--images", "rooms"], "edgekd simulate", marks=WITH_TORCH),
        pytest.param(["distill", "--images", "²"], "edgekd simulate", marks=WITH_TORCH),
        pytest.param(["distill", "--student", "mobil-s"], "mobile-s", marks=WITH_TORCH),
        pytest.param(["distill", "--teacher", "romms"], "rooms", marks=WITH_TORCH),
    ],
)
def test_wrong_usage_is_one_line_with_what_was_meant_and_exit_code_2(
    run_folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    last = err.splitlines()[-1]
    assert out == "" and last.startswith("Error: ") and said in last
    assert sum(line.startswith("Error: ") for line in err.splitlines()) == 1
    assert not list(run_folder.glob("artefacts/*"))


def test_the_help_names_the_students_and_the_default_one(capsys: pytest.CaptureFixture[str]) -> None:
    students = pytest.importorskip("edgekd.models.students", reason="the students' table needs torch")
    assert run(["distill", "--help"]) == 0
    text = "".join(capsys.readouterr().out.split())  # lines may end at a hyphen
    assert all(name in text for name in students.STUDENTS)
    assert f"[default:{students.DEFAULT_STUDENT}]" in text


def test_the_command_that_makes_a_run_anew_is_the_one_that_was_given() -> None:
    console.start(["distill", "--out", "runs/x", "--teacher", "my net.onnx", "--force", "--steps=9", "--json"])
    assert again("distill") == "edgekd distill --teacher 'my net.onnx' --steps=9 --out {run}"


@pytest.mark.parametrize(("kind", "code"), [(MissingRuntimeError, 3), (BudgetError, 4)])
def test_the_exit_code_is_that_of_the_error(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: type, code: int
) -> None:
    def fail(*_: object) -> None:
        raise kind("Something is\nwrong", fix="Mend it")

    monkeypatch.setattr("edgekd.steps.export.export_run", fail)
    assert run(["export"]) == code
    assert capsys.readouterr().err.splitlines()[-1] == "Error: Something is wrong. Mend it."


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("could not create a primitive"),
        ValueError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        ImportError("libcudart.so: failed to map segment from shared object"),
        SystemError("<function __getattr__> returned NULL without setting an exception"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_memory_that_ends_is_no_bug(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("edgekd.steps.export.export_run", fail)
    assert run(["export"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("Error: Out of memory")


def test_a_bug_says_what_where_and_how_to_see_more(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edgekd.steps.artefacts.TARGETS", None)  # makes our own code raise TypeError
    monkeypatch.delenv("EDGEKD_DEBUG", raising=False)
    assert run(["bench", "small", "--target", "onnxruntime"]) == 1
    err = capsys.readouterr().err
    assert "bug in edgekd" in err and "TypeError" in err and "EDGEKD_DEBUG=1" in err
    assert "edgekd/steps/artefacts.py:" in err
    assert "Traceback" not in err
    monkeypatch.setenv("EDGEKD_DEBUG", "1")
    assert run(["bench", "small", "--target", "onnxruntime"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        command = [*EDGEKD, "--version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=buffered, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The disk is full") and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_output_that_reaches_a_limit_on_file_sizes_is_one_line(tmp_path: Path) -> None:
    """Of `ulimit -f`: there is nothing to free."""
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); from edgekd.cli.app import main"
    with open(tmp_path / "out.txt", "w") as out:
        command = [sys.executable, "-c", f"import sys; {limited}; sys.argv = ['edgekd', '--version']; main()"]
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("Error: The file size limit") and "ulimit -f" in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_error(exported_run: Path, closed: str) -> None:
    """As some schedulers start programs."""
    command = f"{shlex.join([*EDGEKD, 'predict', 'small', 'room.png', '--json'])} {closed}"
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save("room.png")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Error" not in done.stderr
    assert {path.name for path in Path("predicted").iterdir()} == {"room.colour.png", "room.depth.png"}


@pytest.mark.parametrize("arguments", [["--help"], ["check", "small"]])
def test_a_reader_who_leaves_is_no_error(exported_run: Path, arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*EDGEKD, *arguments], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert "Error" not in done.stderr and "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_libraries_tidy_up_at_exit_gives_no_traceback(number: signal.Signals) -> None:
    """As torchrun sends it to the other processes where one has died."""
    script = (
        "import atexit, sys, time\n"
        "atexit.register(lambda: (print('leaving', flush=True), time.sleep(60)))\n"
        "from edgekd.cli.app import main\n"
        "sys.argv = ['edgekd', '--version']\n"
        "main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background shell ignores it
    )
    assert process.stdout is not None
    while "leaving" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == -number and not error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(tmp_path: Path, number: signal.Signals) -> None:
    """So do signals that end a process from outside or with its connection."""
    pytest.importorskip("embreex", reason="simulating rooms needs embreex")
    command = [*EDGEKD, "simulate", "--out", "my rooms", "--count", "40", "--workers", "1"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # nohup ignores SIGHUP, and children inherit it
    )
    deadline = time.monotonic() + 60
    while not list((tmp_path / "my rooms").glob(".*.part")) and time.monotonic() < deadline:
        time.sleep(0.05)  # waits until it writes a shard
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == "" and "Traceback" not in err
    assert err.splitlines()[-1].endswith("edgekd simulate --out 'my rooms' --count 40 --workers 1")
    done = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["count"] == 40


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["distill", "--steps", "9", "--force"],
            "the same command without --force resumes from there: edgekd distill --steps 9",
        ),
        (["distill", "--steps", "9"], "the same command resumes from there: edgekd distill --steps 9"),
        (["export", "small", "--force"], "The same command starts over: edgekd export small --force"),
    ],
)
def test_ctrl_c_never_advises_a_command_that_throws_away_what_was_made(
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgekd.steps.requirements.require_training", interrupted)
    monkeypatch.setattr("edgekd.steps.export.export_run", interrupted)
    assert run(arguments) == 130
    assert capsys.readouterr().err.splitlines()[-1].endswith(said)


@pytest.mark.parametrize("out", [".", "..", "rooms"])
def test_the_preview_of_simulated_rooms_lies_beside_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    pytest.importorskip("embreex", reason="simulating rooms needs embreex")
    here = tmp_path / "outer" / {".": "rooms", "..": "rooms/.within", "rooms": ""}[out]
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    assert run(["simulate", "--out", out, "--count", "1", "--workers", "1", "--preview", "--json"]) == 0
    shown, err = capsys.readouterr()
    assert Path(json.loads(shown)["preview"]).resolve() == tmp_path / "outer" / "rooms.preview.png"
    assert err.splitlines()[-1] == "Next: edgekd simulate --count 144 --out FOLDER"  # one is too few to distil from
    assert (tmp_path / "outer" / "rooms.preview.png").is_file()


def test_more_rooms_are_suggested_of_the_kind_that_was_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("embreex", reason="simulating rooms needs embreex")
    trimesh = pytest.importorskip("trimesh", reason="meshes are read by trimesh")
    monkeypatch.chdir(tmp_path)
    Path("my own").mkdir()
    trimesh.creation.box([0.5, 0.5, 0.9]).export("my own/box.glb")
    chosen = ["--look", "photographed", "--seed", "3", "--keep-depth", "--meshes", "my own"]
    assert run(["simulate", *chosen, "--out", "few", "--count", "1", "--workers", "1"]) == 0
    shown = shlex.split(capsys.readouterr().err.splitlines()[-1])
    assert shown == ["Next:", "edgekd", "simulate", *chosen, "--count", "144", "--out", "FOLDER"]


@pytest.mark.parametrize("name", ["targets", "calibration"])
def test_a_module_that_hides_ours_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", "import edgekd"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ") and str(tmp_path / f"{name}.py") in last
