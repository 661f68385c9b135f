"""The verbs that work on a device, on a run of a small network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgekd.cli.app import run
from edgekd.run import locked

pytest.importorskip("onnxruntime", reason="the artefacts of these tests are built for onnxruntime")

WITHOUT_TORCH = (
    "import sys\n"
    "for name in ('torch', 'safetensors', 'onnxscript', 'embreex'): sys.modules[name] = None\n"
    "from edgekd.cli.app import run\n"
    "sys.exit(run(sys.argv[1:]))"
)


@pytest.fixture
def picture(exported_run: Path) -> Path:
    from small_network import pictures

    path = Path("room.png")
    Image.fromarray(pictures(1, 3, 60, 80)[0]).save(path)
    return path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, list[str]]:
    """The JSON output of a verb and its lines on stderr."""
    assert run([*arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err.splitlines()


def test_the_newest_run_is_taken_and_named_and_the_next_command_is_last(
    exported_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value, err = said(capsys, "export", "--target", "onnxruntime")
    assert [(a["target"], a["precision"], a["fresh"]) for a in value["exported"]] == [  # type: ignore[index]
        ("onnxruntime", "fp32", False),
        ("onnxruntime", "int8", False),
    ]
    assert err[0] == "No run given: using the newest, runs/small"
    assert err[-1] == "Next: edgekd bench runs/small"


def test_bench_check_and_predict_as_json(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value, _ = said(capsys, "bench", "small", "--seconds", "0", "--target", "onnxruntime")
    assert [row["name"] for row in value["rows"]] == ["onnxruntime-fp32", "onnxruntime-int8"]  # type: ignore[index]
    value, _ = said(capsys, "check", "small")
    assert value["rows"][0]["name"] == "fp32 student"  # type: ignore[index]
    value, _ = said(capsys, "predict", "small", str(picture), "--npy", "--artefact", "onnxruntime-fp32")
    (made,) = value  # type: ignore[misc]
    assert np.load(made["values"]).shape == (60, 80)
    assert Path(made["colour"]).is_file() and Path(made["depth"]).is_file()


def test_a_command_for_the_device_is_shown_so_that_it_can_be_copied(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", "small", "--target", "tensorrt", "--precision", "fp32"]) == 0
    capsys.readouterr()
    assert run(["check", "small"]) == 3
    assert run(["bench", "small", "--seconds", "0"]) == 3
    lines = [line for line in "".join(capsys.readouterr()).splitlines() if "trtexec" in line]
    assert len(lines) == 4 and all(line.endswith("--stronglyTyped") for line in lines)


def test_a_bench_that_measures_nothing_has_failed(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "small", "--target", "tensorrt", "--precision", "fp32"]) == 0
    capsys.readouterr()
    assert run(["bench", "small", "--seconds", "0", "--json"]) == 3  # the device is missing
    out, err = capsys.readouterr()
    assert [row["latency"] for row in json.loads(out)["rows"]] == [None]
    assert err.splitlines()[-1].startswith("Error: Nothing was measured: built for a device other than this machine")
    (path,) = (run_folder / "bench").glob("*.json")  # a report shows why, and the drift of what was built
    assert f"Saved to {path}" in err


def test_a_check_that_checks_no_artefact_has_failed_but_tells_of_student_and_set(
    exported_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert run(["check", "small", "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["rows"][0]["from_teacher"]["abs_rel"] > 0
    assert err.splitlines()[-1].startswith("Error: No artefact was checked: ")


def test_a_bench_that_measures_nothing_keeps_what_was_measured_before(
    exported_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtime is no longer there: in another virtual environment, for example."""
    assert run(["bench", "small", "--seconds", "0"]) == 0
    before = {path: path.read_bytes() for path in (exported_run / "bench").iterdir()}
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert run(["bench", "small", "--seconds", "0"]) == 3
    err = capsys.readouterr().err
    assert "kept as it was" in err and "Saved to" not in err
    assert {path: path.read_bytes() for path in (exported_run / "bench").iterdir()} == before
    assert run(["verify", "small"]) == 0


def test_a_reproduction_that_measures_nothing_says_once_what_became_of_its_file(
    exported_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["bench", "small", "--seconds", "0"]) == 0
    (path,) = (exported_run / "bench").glob("*.json")
    again = path.with_stem(f"{path.stem}-again")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for said_of_it in (f"Saved to {again}", f"Nothing was measured, so {again} is kept as it was"):
        capsys.readouterr()
        assert run(["bench", "small", "--reproduce", str(path)]) == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if str(again) in line]
        assert line == said_of_it


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify", ""],
        ["bench", "", "--seconds", "0"],
        ["predict", ""],
        ["predict", "small", ""],
        ["predict", "", "room.png"],
        ["bench", "small", "--reproduce", "any.json", "--tolerance", "inf"],
        ["bench", "small", "--tolerance", "0.1"],
    ],
)
def test_what_means_nothing_is_wrong_usage(
    picture: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty word is a shell's unset variable, and not the current folder."""
    assert run(arguments) == 2
    assert "bug" not in capsys.readouterr().err
    assert not Path("predicted").exists()


def test_a_folder_of_pictures_may_have_the_name_of_a_run(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("small").mkdir()
    picture.rename("small/room.png")
    assert run(["predict", "small"]) == 2
    assert "the folder is ./small" in capsys.readouterr().err
    value, _ = said(capsys, "predict", "./small")
    assert [made["picture"] for made in value] == ["small/room.png"]  # type: ignore[index, attr-defined]


def test_a_bench_that_was_to_score_and_scored_nothing_has_failed(
    exported_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The latency is kept and reported."""
    outside = np.zeros((60, 80), np.uint16)
    outside[0] = 2000  # the only row with depth is one that the network does not see
    _pairs(tmp_path, outside)
    assert run(["bench", "small", "--seconds", "0", "--data", str(tmp_path), "--json"]) == 1
    out, err = capsys.readouterr()
    assert all(row["latency"] is not None for row in json.loads(out)["rows"])
    assert err.splitlines()[-1].startswith("Error: No accuracy was measured: No frame of ")


@pytest.mark.parametrize("damage", ["cut", "size", "zero"])
def test_data_that_cannot_be_scored_are_refused_before_anything_is_measured(
    exported_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    _pairs(tmp_path, np.full((60, 80), 0 if damage == "zero" else 2000, np.uint16))
    last = {folder: tmp_path / folder / "b.png" for folder in ("rgb", "depth")}
    if damage == "cut":
        last["rgb"].write_bytes(last["rgb"].read_bytes()[:60])
    if damage == "size":
        Image.fromarray(np.full((60, 70), 2000, np.uint16)).save(last["depth"])
    assert run(["bench", "small", "--seconds", "0", "--data", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    named = "No frame of " if damage == "zero" else "b.png"
    assert out == "" and "Measuring" not in err and named in err.splitlines()[-1]
    assert not (exported_run / "bench").exists()


def _pairs(folder: Path, depth: NDArray[np.uint16]) -> None:
    """Two pictures of 60x80 with this depth in millimetres."""
    for part, content in (("rgb", np.zeros((60, 80, 3), np.uint8)), ("depth", depth)):
        (folder / part).mkdir()
        for name in ("a", "b"):
            Image.fromarray(content).save(folder / part / f"{name}.png")


def test_what_was_predicted_is_shown_beside_what_could_not_be_read(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "several"
    folder.mkdir()
    (folder / "room.png").write_bytes(picture.read_bytes())
    (folder / "cut.png").write_bytes(picture.read_bytes()[:100])
    assert run(["predict", "small", str(folder), "--json"]) == 1
    out, err = capsys.readouterr()
    assert [Path(made["picture"]).name for made in json.loads(out)] == ["room.png"]
    assert "1 of 2 pictures" in err.splitlines()[-1] and "cut.png" in err.splitlines()[-1]


def test_a_bench_of_one_setting_leaves_the_others(exported_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--threads", "2"]):
        assert run(["bench", "small", "--seconds", "0", *arguments]) == 0
    whole = {path: path.read_bytes() for path in (exported_run / "bench").glob("*.json")}
    assert len(whole) == 2
    assert run(["bench", "small", "--seconds", "0", "--batch", "2"]) == 0
    assert all(path.read_bytes() == content for path, content in whole.items())


def test_an_export_that_fails_leaves_what_an_earlier_one_made(
    exported_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", "small", "--target", "onnxruntime", "--precision", "int8", "--device", "tpu"]) == 3
    shown = capsys.readouterr()
    assert "no device 'tpu'" in shown.err.splitlines()[-1] and shown.out == ""
    assert run(["verify", "small"]) == 0
    assert run(["check", "small", "--json"]) == 0
    assert "onnxruntime-int8" in capsys.readouterr().out


def test_the_run_may_be_left_out_before_a_picture(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", str(picture)]) == 0
    out, err = capsys.readouterr()
    assert "room.png" in out and "Predicting with onnxruntime-int8 from runs/small" in err
    assert Path("predicted/room.depth.png").is_file()


def test_what_is_named_twice_is_done_once(exported_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twice = ["--target", "onnxruntime", "--target", "onnxruntime"]
    value, _ = said(capsys, "export", "small", *twice, "--precision", "fp32", "--precision", "fp32")
    assert len(value["exported"]) == 1  # type: ignore[index]
    value, _ = said(capsys, "bench", "small", *twice, "--seconds", "0")
    assert [row["name"] for row in value["rows"]] == ["onnxruntime-fp32", "onnxruntime-int8"]  # type: ignore[index]


def test_tables_go_to_stdout(exported_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in (["export", "--target", "onnxruntime"], ["check"], ["bench", "--seconds", "0"]):
        assert run(verb) == 0
        out, err = capsys.readouterr()
        assert "onnxruntime-int8" in out and "Next: edgekd" in err.splitlines()[-1]


@pytest.mark.parametrize("verb", ["export", "bench", "check", "predict", "doctor"])
def test_a_device_needs_no_torch(picture: Path, verb: str) -> None:
    arguments = {
        "export": ["--target", "onnxruntime", "--force"],
        "bench": ["--seconds", "0"],
        "predict": [str(picture)],
    }.get(verb, [])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, verb, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "onnxruntime" in done.stdout or verb == "predict"


@pytest.mark.parametrize("arguments", [["distill"], ["demo"], ["calibrate", "--teacher", "rooms"]])
def test_what_needs_torch_says_so(exported_run: Path, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "torch" in done.stderr and "pip install 'edgekd[distill]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_run_that_is_being_written_is_refused(exported_run: Path) -> None:
    code = "import sys; from edgekd.cli.app import run; sys.exit(run(['export', 'small', '--target', 'onnxruntime']))"
    with locked(exported_run):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"process {os.getpid()} on " in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_missing_file_of_the_run_is_one_line(exported_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (exported_run / "onnx" / "student.onnx").unlink()
    for verb in (["export"], ["bench"], ["check"]):
        assert run(verb) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert last == (
            "Error: runs/small/onnx/student.onnx is missing. "
            "Rebuild it: edgekd distill --teacher small --out runs/small"
        )


def test_the_doctor_names_what_is_missing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setenv("EDGEKD_CACHE", "~nobody-of-that-name/cache")
    value, _ = said(capsys, "doctor")
    assert "EDGEKD_CACHE" in value["spaces"][1]["path"]  # type: ignore[index]
    status = value["targets"]["onnxruntime"]  # type: ignore[index]
    assert not status["can_run"] and "pip install" in status["fix"]
