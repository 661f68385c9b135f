from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from calibration.errors import DiskFullError, FileError
from calibration.files import (
    fault_of,
    inside,
    read_json,
    remove_remains,
    replacing,
    replacing_folder,
    require_writable,
    sha256_file,
    write_json,
)


def left_over(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_replaced_whole_and_readable_as_other_files_are(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    write_json(path, {"x": 2})
    assert read_json(path) == {"x": 2}
    assert left_over(tmp_path) == ["a.json"]
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskFullError),
        (OSError(errno.EROFS, "Read-only file system"), FileError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ValueError("a bug"), ValueError),
    ],
)
def test_an_error_while_writing_leaves_what_was_there(tmp_path: Path, error, raised) -> None:
    path, folder = tmp_path / "a.txt", tmp_path / "folder"
    path.write_text("before")
    folder.mkdir()
    (folder / "kept").touch()
    with pytest.raises(raised), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    with pytest.raises(raised), replacing_folder(folder) as temporary:
        (temporary / "half").touch()
        raise error
    assert path.read_text() == "before"
    assert left_over(folder) == ["kept"]
    assert left_over(tmp_path) == ["a.txt", "folder"]


def test_a_folder_is_replaced_as_one(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with replacing_folder(tmp_path / "made") as temporary:
            (temporary / name).touch()
    assert left_over(tmp_path / "made") == ["second"]
    assert left_over(tmp_path) == ["made"]


def test_a_folder_that_cannot_be_put_in_place_brings_the_one_before_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "kept").touch()
    rename = Path.replace

    def refuse_the_new(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise OSError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", refuse_the_new)
    with pytest.raises(FileError, match="Permission denied"), replacing_folder(tmp_path / "made") as temporary:
        (temporary / "new").touch()
    assert left_over(tmp_path / "made") == ["kept"]
    assert left_over(tmp_path) == ["made"]


def test_a_folder_that_a_killed_process_had_moved_away_is_put_back(tmp_path: Path) -> None:
    (tmp_path / ".a[1].abcdefgh.old" / "a[1]").mkdir(parents=True)
    (tmp_path / ".a[1].abcdefgh.old" / "a[1]" / "file").write_text("whole")
    (tmp_path / ".a[1].ijklmnop.part").mkdir()
    remove_remains(tmp_path / "a[1]")
    assert [path.name for path in tmp_path.iterdir()] == ["a[1]"]
    assert (tmp_path / "a[1]" / "file").read_text() == "whole"


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileError, match="it is a file"), replacing_folder(tmp_path / "notes.txt"):
        pass
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_file_of_another_size_or_content_is_told_from_the_one_that_was_made(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    digest = sha256_file(path)
    assert fault_of(path, digest) is fault_of(path, digest, 3) is None
    for content in (b"ab", b"abcd"):
        path.write_bytes(content)
        assert fault_of(path, digest, 3) == f"has {len(content)} bytes instead of 3: it was truncated or altered"
    path.write_bytes(b"abd")
    assert fault_of(path, digest, 3) == fault_of(path, digest) == "was altered or truncated after it was made"


def test_what_is_not_about_the_file_is_not_told_of_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Cannot allocate") as raised, replacing(tmp_path / "x"):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")
    assert not isinstance(raised.value, FileError)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_file_that_may_not_be_looked_at_is_not_missing(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(PermissionError):
        fault_of(tmp_path / "closed/file", "0")


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    assert fault_of(tmp_path / name, "0") == "is missing"
    if "\0" in name:
        with pytest.raises(FileError, match="lies outside"):
            inside(tmp_path, name)


def test_a_parent_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="Cannot write"):
        write_json(tmp_path / "file" / "a.json", {})


def test_whether_a_file_can_be_written_is_told_without_writing_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    require_writable(tmp_path / "file")
    require_writable(tmp_path / "new" / "file")
    for impossible in (tmp_path, tmp_path / "file" / "a.json"):
        with pytest.raises(FileError, match="Cannot write"):
            require_writable(impossible)
    assert (tmp_path / "file").read_text() == "kept" and not (tmp_path / "new" / "file").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_clear_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FileError, match="Permission denied"):
        write_json(tmp_path / "a.json", {})


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"a\.json is not valid JSON"):
        read_json(path)


def test_infinities_are_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a.json", {"x": float("inf")})
    assert left_over(tmp_path) == []


def test_digest_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(FileError, match="Cannot read"):
        sha256_file(tmp_path / "missing")


def test_a_limit_on_the_size_of_files_is_no_lack_of_space(tmp_path: Path) -> None:
    """Of `ulimit -f`, which some clusters set, or of a stick with FAT32."""
    code = (
        "import resource, sys; from pathlib import Path; from calibration.files import write_bytes\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_bytes(Path(sys.argv[1]), bytes(5000))\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.bin")], capture_output=True, text=True, check=True
    )
    assert "file size limit was reached" in done.stdout and "Raise it (ulimit -f)" in done.stdout
    assert "space" not in done.stdout and list(tmp_path.iterdir()) == []
