"""The demo: what its runs record of how they were made."""

from __future__ import annotations

from pathlib import Path

import pytest
from holding import held_elsewhere
from notes import Notes

pytest.importorskip("torch", reason="distilling needs torch")
pytest.importorskip("onnxscript", reason="exporting from torch needs onnxscript")
pytest.importorskip("embreex", reason="simulating rooms needs embreex")

from calibration.progress import Progress, Quiet
from edgekd.cli.app import run
from edgekd.run import Run, locked
from edgekd.steps import demo
from edgekd.steps.demo import DemoSettings
from edgekd.steps.distill import DistillRequest


def test_what_goes_on_with_an_interrupted_demo_is_the_command_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgekd.steps.training.open_images", interrupted)
    command = ["demo", "--images", "140", "--steps", "3"]
    assert run([*command, "--out", "my demo"]) == 130
    capsys.readouterr()
    assert run(["verify", "my demo"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"Resume: edgekd {' '.join(command)} --out 'my demo'")


def test_a_demo_that_was_started_over_and_interrupted_goes_on_also_where_the_plain_student_is_older(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgekd.steps.training.open_images", interrupted)
    out, distilled = Path("demo"), demo.distill_run

    def first_is_done(request: DistillRequest, progress: Progress) -> Run:
        return Run.open(out) if request.out == out else distilled(request, progress)

    command = ["demo", "--images", "140", "--out", "demo"]
    with monkeypatch.context() as patched:
        assert run([*command, "--steps", "2"]) == 130
        patched.setattr(demo, "distill_run", first_is_done)
        assert run([*command, "--steps", "2"]) == 130  # the plain student is begun, too
    assert run([*command, "--steps", "3", "--force"]) == 130
    assert steps_of(out) == 3 and steps_of(out / "plain") == 2
    monkeypatch.setattr(demo, "distill_run", first_is_done)
    assert run([*command, "--steps", "3"]) == 130  # not refused for the plain student's settings
    assert steps_of(out / "plain") == 3


def steps_of(folder: Path) -> int:
    return int(Run.open(folder).manifest.steps["distill"].asked["settings"]["steps"])


def test_a_second_demo_waits_for_the_rooms_that_the_first_renders_to_measure_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path))
    monkeypatch.setattr(demo, "_HELD_OUT", 4)
    folder = demo._held_out(Quiet())
    (Path(folder) / "00000.tar").unlink()
    notes = Notes()
    with held_elsewhere(Path(folder)):
        assert demo._held_out(notes) == folder
    assert any("waiting for it" in line for line in notes.said)
    with locked(Path(folder)):
        assert demo._held_out(Quiet()) == folder  # all are there: nobody is waited for


def test_the_help_names_what_the_demo_takes_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--help"]) == 0
    text, standard = " ".join(capsys.readouterr().out.split()), DemoSettings()
    assert f"Rooms to simulate. [default: {standard.images}]" in text
    assert f"Training steps of the student. [default: {standard.steps}]" in text
