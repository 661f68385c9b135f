"""Which run a command means."""

from __future__ import annotations

from pathlib import Path

import pytest
from notes import Notes

from calibration.errors import FileError, RunError, UnknownNameError, UsageError
from edgekd.run import Run, default_folder, find_run, is_run


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notes:
    monkeypatch.chdir(tmp_path)
    return Notes()


def test_without_a_name_the_newest_is_taken_and_named(notes: Notes) -> None:
    for name in ("b", "c", "a"):
        Run.create(Path("runs") / name)
    (Path("runs") / "c" / "run.json").touch()  # the newest is the last created, not the last written
    assert find_run(None, notes).name == "a"
    assert notes.said == ["No run given: using the newest, runs/a"]


def test_a_damaged_run_is_never_taken_unasked(notes: Notes) -> None:
    Run.create(Path("runs/old"))
    Run.create(Path("runs/new"))
    Path("runs/new/run.json").write_text("{")
    assert find_run(None, notes).name == "old"


def test_a_run_is_named_by_its_folder_or_by_its_name(notes: Notes, tmp_path: Path) -> None:
    Run.create(Path("runs/kitchen"))
    Run.create(tmp_path / "elsewhere")
    for name, folder in (("kitchen", "runs/kitchen"), ("runs/kitchen", "runs/kitchen"), ("elsewhere", "elsewhere")):
        assert find_run(name, notes).folder == Path(folder)
    assert notes.said == []


@pytest.mark.parametrize(("inside", "name"), [(".", "."), ("artefacts", ".."), ("", "../kitchen/")])
def test_a_run_knows_its_name_from_within(
    notes: Notes, monkeypatch: pytest.MonkeyPatch, inside: str, name: str
) -> None:
    Run.create(Path("runs/kitchen"))
    Path("runs/kitchen/artefacts").mkdir()
    monkeypatch.chdir(Path("runs/kitchen") / inside)
    assert find_run(name, notes).name == "kitchen"


def test_an_empty_name_is_not_the_current_folder(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell's unset variable."""
    Run.create(Path("runs/kitchen"))
    for folder in (".", "runs/kitchen"):
        monkeypatch.chdir(folder)
        assert not is_run("")
        with pytest.raises(UsageError, match="name is empty"):
            find_run("", notes)


def test_a_path_is_not_looked_up_among_the_names(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    """runs/../kitchen is this folder's kitchen, and not what ../kitchen means."""
    Run.create(Path("here/kitchen"))
    Run.create(Path("here/runs/hall"))
    monkeypatch.chdir("here")
    for path in ("../kitchen", "./hall"):
        assert not is_run(path)
        with pytest.raises(UnknownNameError):
            find_run(path, notes)
    assert find_run("./kitchen", notes).name == "kitchen" and find_run("hall", notes).name == "hall"


def test_a_name_that_is_no_run_gets_its_near_matches(notes: Notes) -> None:
    Run.create(Path("runs/kitchen"))
    with pytest.raises(UnknownNameError, match="runs/kitchen") as caught:
        find_run("kitchn", notes)
    assert caught.value.exit_code == 2
    Path("photos").mkdir()
    with pytest.raises(RunError, match=r"photos is not a run: it has no run\.json.* edgekd distill --out photos$"):
        find_run("photos", notes)
    Path("photos/room.png").touch()  # distill would refuse it
    with pytest.raises(RunError, match=r"photos is not a run: it has no run\.json.* edgekd distill$"):
        find_run("photos", notes)


def test_without_any_run_the_command_that_makes_one_is_named(notes: Notes) -> None:
    with pytest.raises(RunError, match="edgekd distill"):
        find_run(None, notes)


def test_runs_that_cannot_be_read_are_not_none(notes: Notes) -> None:
    """A share whose server is gone, another user's folder; here a link to itself, which root cannot read either."""
    Path("runs").symlink_to("runs")
    for name in (None, "kitchen"):
        with pytest.raises(FileError, match=r"Cannot read runs: .*Check the path"):
            find_run(name, notes)


def test_the_name_of_a_factory_becomes_one_that_tar_and_scp_take() -> None:
    assert default_folder("my.nets:deep-slim-l") == Path("runs/my.nets-deep-slim-l")
