"""Where a run can be, checked before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibration.errors import EdgekdError, FileError
from edgekd.run import Run, require_place


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("photos", "other files, not a run"),
        ("photos/a.jpg", "is not a folder"),
        ("photos/a.jpg/x", r"a\.jpg is not a folder"),
        ("nowhere", "is not a folder"),
        ("x" * 300, "Cannot write"),
    ],
)
def test_a_place_that_no_run_can_be_in(out: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with pytest.raises(EdgekdError, match=said):
        require_place(tmp_path / out)


def test_a_place_that_a_run_can_be_in_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for out in (None, Path("new"), Path("new/one"), tmp_path):
        require_place(out)
    assert list(tmp_path.iterdir()) == []
    Run.create(Path("runs/kitchen"))
    for out in (None, Path("runs/kitchen"), Path("runs/other")):
        require_place(out)


def test_the_folder_of_runs_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").write_text("")
    with pytest.raises(FileError, match="runs is not a folder"):
        require_place(None)
