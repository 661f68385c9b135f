"""The demo: what its runs record of how they were made."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="distilling needs torch")
pytest.importorskip("onnxscript", reason="exporting from torch needs onnxscript")
pytest.importorskip("embreex", reason="simulating rooms needs embreex")

from edgekd.cli.app import run
from edgekd.steps.demo import DemoSettings


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


def test_the_help_names_what_the_demo_takes_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--help"]) == 0
    text, standard = " ".join(capsys.readouterr().out.split()), DemoSettings()
    assert f"Rooms to simulate. [default: {standard.images}]" in text
    assert f"Training steps of the student. [default: {standard.steps}]" in text
