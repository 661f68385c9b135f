"""`edgekd verify`: everything that travels is whole, or the damaged file is named."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import FileError
from calibration.progress import Quiet
from calibration.weights import weights_fault
from edgekd.cli.app import run
from edgekd.run import Run
from edgekd.steps.bundle import BundleSettings, bundle_run
from edgekd.steps.verify import verify

pytest.importorskip("onnxruntime", reason="the artefacts of these tests are built for onnxruntime")


def flipped(path: Path, place: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object], str]:
    """Exit code, JSON and the last line on stderr."""
    code = run(["verify", *arguments, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err.splitlines()[-1]


def test_a_run_is_whole_until_a_bit_of_it_changes(exported_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, value, last = told(capsys)
    assert code == 0 and value["whole"] and value["kind"] == "run" and last == "Next: edgekd bench runs/small"
    recorded = [path for step in Run.open(exported_run).manifest.steps.values() for path in step.outputs]
    assert value["files"] == len(recorded) > 8
    for path in recorded:
        kept = (exported_run / path).read_bytes()
        flipped(exported_run / path)
        code, value, last = told(capsys, "small")
        assert code == 1 and not value["whole"]
        assert len(value["faults"]) == 1 and path in value["faults"][0]["fault"], value  # type: ignore[index, arg-type]
        assert last.startswith("Error: runs/small is not intact: ") and path in last and "Rebuild it: edgekd " in last
        (exported_run / path).write_bytes(kept)
    (exported_run / recorded[0]).unlink()
    (exported_run / recorded[1]).write_bytes(b"")
    code, value, last = told(capsys, "small")
    assert code == 1 and len(value["faults"]) == 2 and "is missing, and 1 more" in last  # type: ignore[arg-type]


def test_a_run_with_an_unfinished_step_is_not_whole(exported_run: Path) -> None:
    opened = Run.open(exported_run)
    with pytest.raises(ZeroDivisionError), opened.step("x", inputs={}, asked={}, command="edgekd x {run}"):
        raise ZeroDivisionError
    (fault,) = verify("small", Quiet()).faults
    assert "the step x is unfinished" in fault.message and fault.fix == "Resume: edgekd x runs/small"


def test_an_unfinished_step_of_a_run_that_is_being_written_is_not_to_be_resumed(
    exported_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Run.open(exported_run)
    with opened.lock(), opened.step("x", inputs={}, asked={}, command="edgekd x {run}"):
        code, value, last = told(capsys, "small")
    (fault,) = value["faults"]  # type: ignore[misc]
    who = f"process {os.getpid()} on {socket.gethostname()}, since "
    assert code == 1 and f"the step x is unfinished, and the run is being written by {who}" in fault["fault"]
    assert fault["fix"] == "Wait until it is done" and "Resume" not in last
    assert verify("small", Quiet()).whole


def test_a_folder_that_is_called_like_a_run_does_not_hide_it(exported_run: Path) -> None:
    Path("small").mkdir()
    found = verify("small", Quiet())
    assert (found.kind, found.path) == ("run", exported_run)


def test_an_artefact_of_another_model_is_not_the_runs(exported_run: Path) -> None:
    path = exported_run / "artefacts" / "onnxruntime-fp32" / "artefact.json"
    path.write_text(path.read_text().replace(json.loads(path.read_text())["student"], "0" * 64))
    opened = Run.open(exported_run)
    record = opened.manifest.steps["export onnxruntime-fp32"]
    command = record.command
    with opened.step("export onnxruntime-fp32", inputs=record.inputs, asked=record.asked, command=command) as made:
        made.add(path.parent)
    (fault,) = verify("small", Quiet()).faults
    assert "different model" in fault.message
    exported_run.rename("my run")
    (fault,) = verify("my run", Quiet()).faults
    assert fault.fix == "Rebuild it: edgekd export 'my run' --target onnxruntime --precision fp32 --force"


def test_an_artefact_that_another_version_wrote_is_a_fault(exported_run: Path) -> None:
    path = exported_run / "artefacts" / "onnxruntime-fp32" / "artefact.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": "edgekd artefact 99"}))
    opened = Run.open(exported_run)
    record = opened.manifest.steps["export onnxruntime-fp32"]
    with opened.step(
        "export onnxruntime-fp32", inputs=record.inputs, asked=record.asked, command=record.command
    ) as made:
        made.add(path.parent)
    (fault,) = verify("small", Quiet()).faults
    assert "has format edgekd artefact 99; this version of edgekd reads" in fault.message


def test_an_artefact_a_set_and_weights_by_themselves(
    exported_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for source, kind, damage in (
        (exported_run / "artefacts" / "onnxruntime-int8", "artefact", "model.onnx"),
        (exported_run / "calibration", "calibration set", "images.npy"),
    ):
        copy = tmp_path / "copied" / kind
        shutil.copytree(source, copy)
        code, value, _ = told(capsys, str(copy))
        assert (code, value["kind"], value["whole"]) == (0, kind, True)
        flipped(copy / damage)
        code, _, last = told(capsys, str(copy))
        assert code == 1 and damage in last


def test_a_bundle_as_a_folder_and_as_its_archive(exported_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = bundle_run(Run.open(exported_run), BundleSettings(("onnxruntime",), ("fp32",)), Quiet(), Path("out"))
    for path in (written.folder, written.archive):
        code, value, _ = told(capsys, str(path))
        assert (code, value["kind"], value["whole"], value["files"]) == (0, "bundle", True, 5)
    assert run(["verify", "out"]) == 2  # the folder that it was written into
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "Error: out holds no digests, but out/small does. Run edgekd verify out/small"
    flipped(written.folder / "run.py")
    (written.folder / "models" / "fp32.onnx").unlink()
    code, value, last = told(capsys, str(written.folder))
    assert code == 1 and len(value["faults"]) == 2 and "fp32.onnx is missing" in last  # type: ignore[arg-type]

    archive = written.archive.read_bytes()
    for damaged in (archive[:-200], archive[:1000] + bytes([archive[1000] ^ 8]) + archive[1001:], b"", b"hello"):
        written.archive.write_bytes(damaged)
        assert told(capsys, str(written.archive))[0] == 1
        assert "Traceback" not in capsys.readouterr().err


def _bundle(folder: Path, change: Callable[[dict[str, object]], None]) -> Path:
    from calibration.files import sha256_bytes
    from targets.board.manifest import FORMAT, manifest_digest

    (folder / "a").write_bytes(b"a")
    value: dict[str, object] = {"format": FORMAT, "files": {"a": sha256_bytes(b"a")}, "selftest": {}}
    change(value)
    value["digest"] = manifest_digest(value)
    (folder / "manifest.json").write_text(json.dumps(value))
    return folder


def test_a_bundle_names_nothing_outside_itself(tmp_path: Path) -> None:
    assert verify(str(_bundle(tmp_path, lambda value: None)), Quiet()).whole
    for name in ("../../etc/hostname", "/etc/hostname"):
        found = verify(str(_bundle(tmp_path, lambda value, name=name: value.update(files={name: "0"}))), Quiet())
        assert "outside" in found.faults[0].message
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as tar:  # members outside the bundle are never written
        for name in ("../../evil", "/evil", "b/manifest.json"):
            entry = tarfile.TarInfo(name)
            content = (tmp_path / "manifest.json").read_bytes()
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    assert not verify(str(tmp_path / "b.tar.gz"), Quiet()).whole
    assert not (tmp_path.parent / "evil").exists()


def test_weights_and_statistics_without_torch(tmp_path: Path) -> None:
    packaged = Path(__file__).parents[3] / "edgekd" / "models" / "weights" / "rooms.safetensors"
    copy = tmp_path / "rooms.safetensors"
    shutil.copy(packaged, copy)
    assert weights_fault(copy) is None
    flipped(copy)
    found = verify(str(copy), Quiet())
    assert (found.kind, found.whole) == ("weights", False)
    for damage in (b"", b"\xff" * 8, packaged.read_bytes()[:-5], b"\2\0\0\0\0\0\0\0{}" + b"x"):
        copy.write_bytes(damage)
        with pytest.raises(FileError, match=r"not a complete safetensors file"):
            weights_fault(copy)
    safetensors = pytest.importorskip("safetensors.numpy", reason="another program's file needs safetensors")
    safetensors.save_file({"x": np.zeros(3, np.float32)}, copy)
    with pytest.raises(FileError, match="it was not written by edgekd"):
        weights_fault(copy)


def test_statistics_that_were_altered_are_not_taken(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="statistics are measured with torch")
    from edgekd.distill.statistics import StoredStatistics
    from edgekd.distill.statistics_file import StatisticsFile

    layers = {"a": (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.5]))}
    path = tmp_path / "s.safetensors"
    StatisticsFile("t", "0" * 64, 20, StoredStatistics.of(layers)).write(path)
    found = verify(str(path), Quiet())
    assert (found.kind, found.whole, StatisticsFile.read(path).pictures) == ("statistics", True, 20)
    flipped(path)
    found = verify(str(path), Quiet())
    assert (found.kind, found.whole) == ("statistics", False)
    with pytest.raises(FileError, match="altered"):
        StatisticsFile.read(path)


def test_what_keeps_no_digest_and_what_is_not_there(
    exported_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("photos", "smal"):
        assert run(["verify", name]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith("Error: ")
