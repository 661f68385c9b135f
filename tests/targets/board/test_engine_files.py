"""Engines: their options, their key, and building them in a separate process."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from small_network import HEIGHT, WIDTH, save, small_network

from targets.board.apart import BuildJob, build_apart
from targets.board.errors import BoardError, InputError, MisfitError, RefusedError
from targets.board.key import EngineKey, read_engine, write_engine
from targets.board.options import EngineOptions
from targets.board.timings import Timings, cache_folder
from targets.child import python
from targets.tensorrt_rtx import installed_module

CHILD = python("from targets.board.apart import serve_build\nsys.exit(serve_build(sys.argv[-1]))")
HERE = EngineKey("tensorrt", "10.3.0", "Orin", "8.7", "m" * 64, EngineOptions().to_json())


@pytest.fixture
def job(tmp_path: Path) -> BuildJob:
    module = installed_module()
    if module is None:
        pytest.skip("TensorRT for RTX is not installed")
    model = save(small_network(), tmp_path / "model.onnx")
    paths = (str(model), str(tmp_path / "model.engine"))
    return BuildJob(module, "tensorrt-rtx", *paths, (HEIGHT, WIDTH), "fp32", EngineOptions(), str(tmp_path / "cache"))


def silent(seconds: float, step: str) -> None:
    pass


def test_options_are_read_and_said_alike() -> None:
    options = EngineOptions.parse("workspace=512, effort=5,version-compatible,dla=1,batch=2,tactics=jit_convolutions+A")
    assert options == EngineOptions(512, 5, True, False, 1, 2, "JIT_CONVOLUTIONS+A")
    assert EngineOptions.parse(str(options)) == options
    assert EngineOptions.from_json(json.loads(json.dumps(options.to_json()))) == options


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("wrkspace=4", "Did you mean workspace=N"),
        ("effort=9", "effort=9 is out of range"),
        ("dla", "no engine option 'dla'"),
        ("batch=0", "batch=0"),
        ("tactics=A;reboot", r"tactics=A;REBOOT is not valid\. Join names by \+"),
        ("tactics=A+", r"tactics=A\+ is not valid"),
    ],
)
def test_options_that_cannot_be_meant(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        EngineOptions.parse(text)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": "10.7.0"}, "it is for tensorrt 10.7.0, this device has tensorrt 10.3.0"),
        ({"device": "Xavier", "capability": "7.2"}, "it is for Xavier 7.2, this device is Orin 8.7"),
        ({"model": "x" * 64}, "built from another model"),
        ({"runtime": "tensorrt-rtx"}, "it is for tensorrt-rtx"),
        (
            {"options": EngineOptions(workspace=64).to_json()},
            "it was built with workspace=64,batch=8, not batch=8",
        ),
    ],
)
def test_an_engine_of_something_else_is_refused_with_the_command(tmp_path: Path, change, says: str) -> None:
    write_engine(str(tmp_path / "e"), b"engine", replace(HERE, **change), 3.0)
    with pytest.raises(MisfitError, match=says) as raised:
        read_engine(str(tmp_path / "e"), HERE, "python3 run.py --rebuild")
    assert raised.value.fix == "Rebuild it: python3 run.py --rebuild"


def test_a_whole_engine_is_read_and_a_truncated_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "e"
    write_engine(str(path), b"engine", HERE, 3.0)
    assert read_engine(str(path), HERE, "again") == b"engine"
    path.write_bytes(b"engin")
    with pytest.raises(MisfitError, match="altered or truncated"):
        read_engine(str(path), HERE, "again")
    path.unlink()
    with pytest.raises(MisfitError, match="Cannot read"):
        read_engine(str(path), HERE, "again")


def test_an_engine_of_trtexec_has_no_key_and_a_damaged_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(b"engine")
    assert read_engine(str(tmp_path / "e"), HERE, "again") == b"engine"
    (tmp_path / "e.key.json").write_text("{")
    with pytest.raises(MisfitError, match=r"e\.key\.json cannot be read"):
        read_engine(str(tmp_path / "e"), HERE, "again")


def test_compatible_engines_go_where_they_may() -> None:
    options = EngineOptions(version_compatible=True, hardware_compatible=True).to_json()
    built, here = replace(HERE, options=options), replace(HERE, options=options)
    assert built.misfit(replace(here, version="10.10.1", device="RTX", capability="8.9")) is None
    assert "this device has tensorrt 11.0.0" in str(built.misfit(replace(here, version="11.0.0")))
    assert "this device has tensorrt 10.2.0" in str(built.misfit(replace(here, version="10.2.0")))
    assert "Xavier" in str(built.misfit(replace(here, device="Xavier", capability="7.2")))


def test_a_build_apart_writes_engine_and_key_and_learns_its_time(job: BuildJob) -> None:
    said: list[tuple[float, str]] = []
    seconds = build_apart(CHILD, job, lambda *moment: said.append(moment))
    assert seconds > 0 and Path(job.engine).stat().st_size > 1000
    key = json.loads(Path(job.engine + ".key.json").read_text())["key"]
    assert key["runtime"] == "tensorrt-rtx" and key["options"] == EngineOptions().to_json()
    gaps = [after[0] - before[0] for before, after in zip([(0.0, ""), *said], said, strict=False)]
    assert max(gaps) < 2  # never silent for 2 s
    estimate = Timings(job.cache, EngineKey(**key)).estimate(Path(job.onnx).stat().st_size)
    assert estimate == pytest.approx(seconds, abs=0.01)


def test_without_a_home_nothing_is_kept_of_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKD_CACHE", "~nobody-of-that-name/cache")
    Timings(cache_folder(), HERE).keep(b"cache", 1, 1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_build_is_expected_to_take_what_it_took_or_what_others_took_by_size(tmp_path: Path) -> None:
    def timings(**changed: object) -> Timings:
        return Timings(str(tmp_path), replace(HERE, **changed))  # type: ignore[arg-type]

    assert timings(model="new").estimate(1000) is None
    for model, size, seconds in (("slow", 100, 90.0), ("usual", 100, 20.0), ("quick", 100, 10.0)):
        timings(model=model).keep(b"cache", size, seconds)
    assert timings(model="slow").estimate(500) == 90  # its own time
    assert timings(model="new").estimate(500) == pytest.approx(100)  # at the usual 0.2 s a byte
    assert timings(model="new").cache == b"cache"
    for other in ({"options": EngineOptions(effort=5).to_json()}, {"device": "another"}, {"version": "9.9.9"}):
        assert timings(**other).estimate(500) is None and timings(**other).cache == b""


def test_what_the_builder_refuses_comes_back_as_its_words(job: BuildJob) -> None:
    Path(job.onnx).write_bytes(b"no model")
    with pytest.raises(RefusedError, match="rejects the model"):
        build_apart(CHILD, job, silent)
    assert not Path(job.engine).exists()


def test_options_that_rtx_does_not_have_are_refused(job: BuildJob) -> None:
    with pytest.raises(InputError, match=r"TensorRT for RTX .* has no option version-compatible"):
        build_apart(CHILD, replace(job, options=EngineOptions(version_compatible=True)), silent)
    with pytest.raises(InputError, match=r"has no tactics CUDNN.* It has EDGE_MASK_CONVOLUTIONS, JIT_CONVOLUTIONS"):
        build_apart(CHILD, replace(job, options=EngineOptions(tactics="CUDNN")), silent)
    build_apart(CHILD, replace(job, options=EngineOptions(tactics="JIT_CONVOLUTIONS", workspace=64)), silent)
    with pytest.raises(InputError, match=r"DLA with TensorRT .* has no fp32"):
        build_apart(CHILD, replace(job, options=EngineOptions(dla=0)), silent)
    with pytest.raises(InputError, match="No DLA core 0 on this device"):
        build_apart(CHILD, replace(job, precision="fp16", options=EngineOptions(dla=0)), silent)


@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("os.kill(os.getpid(), 9)", "killed, most likely by the kernel because memory ran out"),
        ("os.kill(os.getpid(), 11)", "signal 11"),
        ("sys.exit('no such thing')", "exit code 1: no such thing"),
    ],
)
def test_a_build_that_dies_is_one_clear_error(job: BuildJob, end: str, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        build_apart([sys.executable, "-c", f"import os, sys; {end}"], job, silent)


def test_a_build_without_room_on_the_disk_does_not_begin(job: BuildJob, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 9))
    with pytest.raises(BoardError, match="has 0 MB free"):
        build_apart(CHILD, job, silent)


def test_ctrl_c_ends_the_child(job: BuildJob) -> None:
    def interrupt(seconds: float, step: str) -> None:
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        build_apart([sys.executable, "-c", "import time; time.sleep(60)"], job, interrupt)
    assert time.monotonic() - started < 10
