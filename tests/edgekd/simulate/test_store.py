"""Sets on disk: the same bytes however they are made, resumed after an interruption, refused when altered."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import DataError, EdgekdError, FileError
from calibration.progress import Quiet
from edgekd.simulate.rooms import RoomSettings, render
from edgekd.simulate.sample import SimulatedImage
from edgekd.simulate.shards import index_shard, read_image, write_shard
from edgekd.simulate.store import SimulatedSet, set_request, write_set

SETTINGS = RoomSettings(height=48, width=64, views_per_room=4)
COUNT = 70  # three shards, the last not full


def make(folder: Path, settings: RoomSettings = SETTINGS, *, count: int = COUNT, workers: int = 1, depth: bool = True):
    return write_set(folder, settings, seed=3, count=count, workers=workers, keep_depth=depth, progress=Quiet())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> SimulatedSet:
    return make(tmp_path_factory.mktemp("sets") / "whole")


def test_a_set_gives_back_what_was_rendered(whole):
    assert len(whole) == COUNT
    for index in (0, 31, 32, 69, -1):
        stored, fresh = whole[index], render(SETTINGS, 3, index % COUNT)
        np.testing.assert_array_equal(stored.ids, fresh.ids)
        assert stored.ids.dtype == np.uint16
        np.testing.assert_allclose(stored.depth, fresh.depth, atol=0.0006)
        assert np.abs(stored.rgb.astype(int) - fresh.rgb).mean() < 6  # JPEG
        assert stored.rgb.flags.writeable
    with pytest.raises(IndexError):
        whole[COUNT]


@pytest.mark.parametrize("most", [255, 256, 65535])
def test_a_shard_gives_back_ids_and_depths_however_large(tmp_path: Path, most: int) -> None:
    ids = np.linspace(0, most, 48, dtype=np.uint16).reshape(6, 8)
    depth = np.linspace(0, 80, 48, dtype=np.float32).reshape(6, 8)  # 16 bits of millimetres end at 65.535 m
    write_shard(tmp_path / "s.tar", [(7, SimulatedImage(np.zeros((6, 8, 3), np.uint8), ids, depth))], keep_depth=True)
    (entry,) = index_shard((tmp_path / "s.tar").read_bytes(), tmp_path / "s.tar").values()
    stored = read_image(tmp_path / "s.tar", entry)
    np.testing.assert_array_equal(stored.ids, ids)
    np.testing.assert_allclose(stored.depth, depth.clip(0, 65.535), atol=0.00051)


@pytest.mark.parametrize("workers", [2, 5])
def test_the_bytes_do_not_depend_on_the_number_of_workers(whole, tmp_path, workers):
    made = make(tmp_path / "set", workers=workers)
    assert contents(made.folder) == contents(whole.folder)
    assert made.digest == whole.digest


class StopAfter(Quiet):
    """A Progress that is interrupted, as by Ctrl-C, once `limit` pictures are done."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    @contextlib.contextmanager
    def task(self, label, total=None):
        done = 0

        def advance(step):
            nonlocal done
            done += step
            if done >= self.limit:
                raise KeyboardInterrupt

        yield advance


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_set_is_recognised_and_continued_to_the_same_bytes(whole, tmp_path, workers):
    folder = tmp_path / "set"
    with pytest.raises(KeyboardInterrupt):
        write_set(folder, SETTINGS, seed=3, count=COUNT, workers=workers, keep_depth=True, progress=StopAfter(32))
    shards = sorted(path.name for path in folder.glob("*.tar"))
    assert 1 <= len(shards) < 3 and not list(folder.glob(".*"))
    with pytest.raises(FileError, match=r"unfinished.*again"):
        SimulatedSet.open(folder)
    # With two workers another shard may exist without its entry yet: only those in the manifest are finished.
    entered = sorted(json.loads((folder / "manifest.json").read_text())["shards"])
    assert entered and set(entered) <= set(shards)
    kept = {name: (folder / name).stat().st_mtime_ns for name in entered}
    assert contents(make(folder).folder) == contents(whole.folder)
    again = {name: (folder / name).stat().st_mtime_ns for name in entered}
    assert again == kept, "a finished shard was made again"


def test_other_settings_in_the_same_folder_are_refused(whole):
    before = contents(whole.folder)
    for change, named in (
        ({"settings": replace(SETTINGS, width=65)}, "width"),
        ({"count": COUNT + 1}, "count"),
        ({"depth": False}, "keep_depth"),
    ):
        with pytest.raises(DataError, match=rf"other settings \({named}\)") as caught:
            make(whole.folder, **change)
        assert str(caught.value).count("\n") == 0
    assert contents(whole.folder) == before


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"picture")
    with pytest.raises(DataError, match="other files"):
        make(tmp_path)
    assert contents(tmp_path) == {"holiday.jpg": b"picture"}


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_a_damaged_shard_is_named_and_made_again(whole, tmp_path, damage):
    folder = tmp_path / "set"
    folder.mkdir()
    for name, data in contents(whole.folder).items():
        (folder / name).write_bytes(data)
    shard = folder / "00001.tar"
    if damage == "missing":
        shard.unlink()
    elif damage == "truncated":
        shard.write_bytes(shard.read_bytes()[:-1024])
    else:
        data = bytearray(shard.read_bytes())
        data[5000] ^= 1
        shard.write_bytes(bytes(data))
    with pytest.raises(FileError, match=r"00001\.tar"):
        SimulatedSet.open(folder)
    assert contents(make(folder).folder) == contents(whole.folder)


NO_SHARDS = json.dumps({"request": set_request(SETTINGS, seed=3, count=COUNT, keep_depth=True), "shards": []})


@pytest.mark.parametrize("text", ["{", "{}", '{"request": {"count": 3}, "shards": {}}', "[1]", NO_SHARDS])
def test_a_broken_manifest_is_one_clear_error(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(FileError, match=r"manifest\.json"):
        SimulatedSet.open(tmp_path)
    with pytest.raises(FileError, match=r"manifest\.json"):
        make(tmp_path)


def test_no_set_at_all_is_one_clear_error(tmp_path):
    with pytest.raises(FileError, match=r"manifest\.json"):
        SimulatedSet.open(tmp_path / "nothing")


def test_shards_are_plain_tars_in_the_webdataset_layout(whole):
    with tarfile.open(whole.folder / "00002.tar") as archive:
        names = archive.getnames()
    assert names[:3] == ["000064.jpg", "000064.ids.png", "000064.depth.png"] and len(names) == 18
    manifest = json.loads((whole.folder / "manifest.json").read_text())
    assert manifest["request"]["settings"]["look"] == "simulated" and set(manifest["shards"]) == {
        "00000.tar",
        "00001.tar",
        "00002.tar",
    }


def test_depth_is_left_out_unless_kept(tmp_path):
    assert make(tmp_path / "set", count=2, depth=False)[0].depth is None


def test_an_opened_set_goes_to_another_process(whole):
    again = pickle.loads(pickle.dumps(whole))
    np.testing.assert_array_equal(again[40].rgb, whole[40].rgb)


def test_pictures_of_the_usual_size_take_little_space(tmp_path):
    stored = make(tmp_path / "set", RoomSettings(look="photographed", views_per_room=2), count=8, depth=False)
    assert (stored.folder / "00000.tar").stat().st_size / 8 < 60_000


_SCRIPT = """
import os, signal, sys, threading
from pathlib import Path
from calibration.errors import EdgekdError
from calibration.progress import Quiet
from edgekd.simulate.rooms import RoomSettings
from edgekd.simulate.store import write_set

if __name__ == "__main__":
    print("ready", flush=True)
    try:
        settings = RoomSettings(height=480, width=640)  # a picture takes long enough to be interrupted twice
        write_set(Path(sys.argv[1]), settings, seed=3, count=3000, workers=2, keep_depth=False, progress=Quiet())
    except EdgekdError as error:
        print("error:", error)
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize("event", ["ctrl-c", "ctrl-c twice", "a worker dies"])
def test_ctrl_c_and_dead_workers_end_in_one_line_and_leave_no_process(tmp_path, event):
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    folder = tmp_path / "set"
    with subprocess.Popen(
        [sys.executable, script, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            _wait(lambda: any(folder.glob(".0*.tar.*.part")))  # a worker is rendering
            if event == "a worker dies":
                os.kill(_rendering_worker(process.pid), signal.SIGKILL)
            else:
                os.killpg(process.pid, signal.SIGINT)
            if event == "ctrl-c twice":  # while the workers stop: this once left a process running
                time.sleep(0.02)
                os.killpg(process.pid, signal.SIGINT)
            out, _ = process.communicate(timeout=40)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert ("error: A rendering worker died" if event == "a worker dies" else "interrupted") in out
    assert "Traceback" not in out
    if event == "ctrl-c":
        assert not list(folder.glob(".*.part")), "a half-written shard was left"


def _run_script(tmp_path, text, *arguments):
    """Runs a script in its own process, whose limits are not ours."""
    script = tmp_path / "script.py"
    script.write_text(text)
    command = [sys.executable, script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


_WITHOUT_ROOM = """
import multiprocessing, resource, sys, threading
from pathlib import Path

from calibration.errors import EdgekdError
from calibration.progress import Quiet
from edgekd.simulate.rooms import RoomSettings
from edgekd.simulate.store import write_set

if __name__ == "__main__":
    threading.stack_size(1 << 30)  # each thread takes that much of the address space
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + int(float(sys.argv[2]) * (1 << 30))
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        write_set(Path(sys.argv[1]), RoomSettings(views_per_room=4), seed=3, count=64, workers=2, keep_depth=False,
                  progress=Quiet())
    except EdgekdError as error:
        print("error:", error)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")
@pytest.mark.parametrize("threads", [0, 1])
def test_a_pool_without_memory_for_its_threads_ends_in_one_line(tmp_path, threads):
    """If the thread that hands out work, or the one that it starts, cannot start, no job would ever finish."""
    done = _run_script(tmp_path, _WITHOUT_ROOM, tmp_path / "set", threads + 0.6)
    assert done.stdout.startswith("error: A rendering worker died"), done.stderr
    assert done.returncode == 0 and "Traceback" not in done.stderr


_WITHOUT_FILES = """
import os, resource, sys
from pathlib import Path

from calibration.errors import EdgekdError
from calibration.progress import Quiet
from edgekd.simulate.rooms import RoomSettings
from edgekd.simulate.store import write_set

if __name__ == "__main__":
    settings, asked = RoomSettings(height=16, width=16), dict(seed=3, keep_depth=False, progress=Quiet())
    write_set(Path(sys.argv[1], "alone"), settings, count=1, workers=1, **asked)  # so that all modules are there
    limit = len(os.listdir("/proc/self/fd")) + int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        write_set(Path(sys.argv[1], "set"), settings, count=64, workers=2, **asked)
    except EdgekdError as error:
        print("error:", error)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the files that are open")
@pytest.mark.parametrize("files", [3, 8])
def test_workers_that_cannot_be_started_end_in_one_line_that_says_how_to_do_without(tmp_path, files):
    """Either their shared state cannot be made (as without /dev/shm), or there is no pipe for the first process."""
    done = _run_script(tmp_path, _WITHOUT_FILES, tmp_path, files)
    assert done.stdout.startswith("error: ") and "with one worker" in done.stdout, done.stderr
    assert done.stdout.count("\n") == 1 and done.stderr == "" and done.returncode == 0


def _wait(condition, seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def _rendering_worker(parent: int) -> int:
    """The child process started last (the first is multiprocessing's resource tracker)."""
    lists = list(Path("/proc").glob(f"{parent}/task/*/children"))
    if not lists:
        pytest.skip("this system does not list a process's children under /proc")
    return max(int(child) for children in lists for child in children.read_text().split())


def test_an_error_in_a_worker_reaches_the_caller_whole(tmp_path):
    """A folder that cannot be written is one known error, not a pool's traceback."""
    if os.name != "posix" or os.geteuid() == 0:
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "00000.tar").mkdir()  # even root cannot overwrite a folder
    with pytest.raises(EdgekdError):
        make(tmp_path / "set", count=COUNT, workers=2)
