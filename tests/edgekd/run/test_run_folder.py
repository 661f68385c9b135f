"""What run.json records, and what it reveals about the files beside it."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from calibration.errors import DiskFullError, FileError, RunError
from calibration.files import replacing, replacing_folder, write_bytes
from edgekd.run import Run, TeacherRecord

ASKED = {"steps": 500, "mixing": {"probability": 0.5}, "size": (3, 4)}
INPUTS = {"teacher": "abc"}
COMMAND = "edgekd distill --out {run}"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with one finished step that made a file and a folder of two files."""
    made_run = Run.create(tmp_path / "my run", TeacherRecord("t", "t.onnx", "abc", "a test"))
    with made_run.lock(), made_run.step("distill", inputs=INPUTS, asked=ASKED, command=COMMAND) as made:
        for name in ("student", "previews/1.png", "previews/2.png"):
            write_bytes(made_run.folder / name, name.encode())
        made.add(made_run.folder / "student", made_run.folder / "previews")
    return made_run


def test_a_finished_step_is_done_for_the_same_inputs_and_settings_only(run: Run) -> None:
    reopened = Run.open(run.folder)
    assert reopened.is_done("distill", inputs=INPUTS, asked=ASKED)
    assert not reopened.is_done("distill", inputs={"teacher": "other"}, asked=ASKED)
    assert not reopened.is_done("distill", inputs=INPUTS, asked={**ASKED, "steps": 501})
    assert not reopened.is_done("export", inputs=INPUTS, asked=ASKED)


@pytest.mark.parametrize("damage", ["missing", "longer", "altered"])
def test_a_step_whose_output_is_not_whole_is_not_done_and_the_error_names_file_and_command(
    run: Run, damage: str
) -> None:
    path = run.folder / "previews" / "2.png"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"previews/2.pngx" if damage == "longer" else b"previews/3.png")
    assert not run.is_done("distill", inputs=INPUTS, asked=ASKED)
    run.verify(run.folder / "student")
    with pytest.raises(RunError) as caught:
        run.verify()
    assert str(path) in caught.value.message
    assert f"edgekd distill --out '{run.folder}'" in caught.value.fix
    assert "\n" not in str(caught.value)


def test_a_file_that_no_step_made_is_named_with_the_command_that_goes_on(run: Run) -> None:
    with pytest.raises(RunError, match=r"artefacts/x was not made"):
        run.verify(run.folder / "artefacts" / "x")


def test_digests_are_given_for_whole_files_only(run: Run) -> None:
    digest = run.digest(run.folder / "student")
    assert digest == "264c8c381bf16c982a4e59b0dd4c6f7808c51a05f64c35db42cc78a2a72875bb"  # sha256 of b"student"
    (run.folder / "student").write_bytes(b"tneduts")
    with pytest.raises(RunError, match="was altered"):
        run.digest(run.folder / "student")


def test_a_crash_between_making_and_recording_leaves_the_step_to_be_done_again(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r")
    with (
        pytest.raises(ZeroDivisionError),
        run.lock(),
        run.step("distill", inputs=INPUTS, asked=ASKED, command=COMMAND) as made,
    ):
        write_bytes(run.folder / "student", b"done")
        made.add(run.folder / "student")
        raise ZeroDivisionError
    reopened = Run.open(run.folder)
    assert reopened.unfinished() == ["distill"]
    assert not reopened.is_done("distill", inputs=INPUTS, asked=ASKED)
    with pytest.raises(RunError, match="Resume: edgekd distill"):
        reopened.verify(reopened.folder / "student")
    with reopened.lock(), reopened.step("distill", inputs=INPUTS, asked=ASKED, command=COMMAND) as made:
        made.add(reopened.folder / "student")
    assert Run.open(run.folder).is_done("distill", inputs=INPUTS, asked=ASKED)


def test_what_differs_from_the_step_begun_before_is_said_setting_by_setting(run: Run) -> None:
    assert run.differences("distill", inputs=INPUTS, asked=ASKED) == []
    asked = {"steps": 100, "mixing": {"probability": 0.9}, "size": [3, 4]}
    assert run.differences("distill", inputs=INPUTS, asked=asked) == [
        "mixing.probability 0.5 instead of 0.9",
        "steps 500 instead of 100",
    ]
    assert run.differences("distill", inputs=INPUTS, asked={**ASKED, "mixing": None}) == ["mixing on instead of off"]
    assert run.differences("distill", inputs={"teacher": "other"}, asked=ASKED) == ["another teacher"]
    assert run.differences("distill", inputs={**INPUTS, "statistics": "s"}, asked=ASKED) == [
        "statistics omitted instead of given"
    ]
    assert run.differences("distill", inputs={}, asked=ASKED) == ["teacher given instead of omitted"]
    assert run.differences("new", inputs=INPUTS, asked=ASKED) == []


def test_what_a_forgotten_step_made_stays_until_it_is_done_again_without(run: Run) -> None:
    """The new step may not make all of it again, as when a student is now distilled without a transformation."""
    write_bytes(run.folder / "own.txt", b"the user's")

    def files() -> list[str]:
        found = [path for path in run.folder.rglob("*") if path.is_file() and path.name[0] != "."]
        return sorted(path.name for path in found)

    before = files()
    with run.lock():
        made = run.forget("distill", "never done")
        assert run.manifest.steps == {} and files() == before
        with run.step("distill", inputs=INPUTS, asked=ASKED, command=COMMAND) as again:
            again.add(run.folder / "student")
        run.remove_unmade(made)
    assert files() == ["own.txt", "run.json", "student"]


def test_an_output_that_is_not_there_is_an_error_and_not_a_record(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r")
    with (
        pytest.raises(FileError, match="should have been written"),
        run.step("distill", inputs=INPUTS, asked=ASKED, command=COMMAND) as made,
    ):
        made.add(run.folder / "student")
    assert Run.open(run.folder).unfinished() == ["distill"]


def test_a_run_is_not_started_over_something_else(tmp_path: Path, run: Run) -> None:
    with pytest.raises(RunError, match="a run already"):
        Run.create(run.folder)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    with pytest.raises(RunError, match="other files"):
        Run.create(tmp_path / "photos")
    assert sorted(path.name for path in (tmp_path / "photos").iterdir() if path.name != ".lock") == ["a.jpg"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}', '{"format": 1, "created": "now"}'])
def test_a_damaged_manifest_is_one_line(run: Run, text: str) -> None:
    (run.folder / "run.json").write_text(text)
    with pytest.raises((FileError, RunError)) as caught:
        Run.open(run.folder)
    assert "run.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_run_json_says_what_a_reader_needs(run: Run) -> None:
    value = json.loads((run.folder / "run.json").read_text())
    step = value["steps"]["distill"]
    assert value["teacher"] == {"name": "t", "spec": "t.onnx", "digest": "abc", "source": "a test", "metric": True}
    assert step["asked"]["size"] == [3, 4]
    assert sorted(step["outputs"]) == ["previews/1.png", "previews/2.png", "student"]
    assert step["outputs"]["student"]["size"] == 7
    assert {"python", "numpy", "edgekd"} <= step["versions"].keys()
    assert step["started"] < step["finished"]


def test_a_full_disk_leaves_the_manifest_as_it_was(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (run.folder / "run.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with (
        pytest.raises(DiskFullError),
        run.lock(),
        run.step("export", inputs={}, asked={}, command=COMMAND),
    ):
        pass
    monkeypatch.undo()
    assert (run.folder / "run.json").read_bytes() == before
    assert not [path for path in run.folder.iterdir() if path.name.endswith(".part")]


@pytest.mark.parametrize(
    "said", ["Not enough free space to write 19267584 bytes after offset 128", "19267584 requested and 1024 written"]
)
def test_numpy_says_that_a_disk_is_full_without_an_errno(tmp_path: Path, said: str) -> None:
    with pytest.raises(DiskFullError), replacing_folder(tmp_path / "calibration") as folder:
        (folder / "images.npy").write_bytes(b"")
        raise OSError(said)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_half_written_goes_with_the_next_lock(run: Run) -> None:
    (run.folder / "previews" / ".1.png.abc.part").write_bytes(b"half")
    (run.folder / ".calibration.x.part").mkdir()
    (run.folder / "mine.part").write_bytes(b"somebody's own")
    with run.lock():
        pass
    assert (run.folder / "mine.part").exists()
    assert not list(run.folder.rglob(".*.part"))


def test_what_another_process_writes_in_a_run_inside_this_one_stays(run: Run) -> None:
    """As the demo's plain student, which is trained while somebody may export the demo itself."""
    inner = Run.create(run.folder / "plain")
    with inner.lock(), replacing(inner.folder / "student.safetensors") as student:
        student.write_bytes(b"new")
        with replacing_folder(inner.folder / "calibration") as calibration, run.lock():
            (calibration / "images.npy").write_bytes(b"new")
    assert (inner.folder / "student.safetensors").read_bytes() == b"new"
    assert (inner.folder / "calibration/images.npy").exists()


def test_what_an_earlier_step_made_stands_where_a_later_one_failed(run: Run) -> None:
    """Only with `keeps_earlier`, and only while it is whole."""
    made = run.folder / "model"
    with run.lock(), run.step("export", inputs=INPUTS, asked=ASKED, command="edgekd export {run}") as step:
        made.write_text("built")
        step.add(made)
    other = {**ASKED, "device": "cuda"}

    def fail(*, spoils: bool) -> None:
        with (
            run.lock(),
            pytest.raises(ValueError),
            run.step("export", inputs=INPUTS, asked=other, command="edgekd export {run}", keeps_earlier=True),
        ):
            if spoils:
                made.write_text("half")
            raise ValueError

    fail(spoils=False)
    assert Run.open(run.folder).is_done("export", inputs=INPUTS, asked=ASKED)
    fail(spoils=True)
    assert Run.open(run.folder).unfinished() == ["export"]
