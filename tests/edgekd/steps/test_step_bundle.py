"""Bundles of a run: what goes in, what is refused, and the verbs that make and look at them."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration.errors import UnknownNameError, UsageError
from calibration.progress import Quiet
from edgekd.cli.app import run
from edgekd.run import Run
from edgekd.steps.artefacts import artefact_folder
from edgekd.steps.bundle import BundleSettings, bundle_run
from edgekd.steps.export import ExportSettings, export_run
from targets import get_target
from targets.artefact import read_artefact
from targets.board.options import EngineOptions

pytest.importorskip("onnxruntime", reason="the encodings are made with onnxruntime")


def models(folder: Path) -> dict[str, list[str]]:
    manifest = json.loads((folder / "manifest.json").read_text())
    return {model["file"]: model["runtimes"] for model in manifest["models"]}


def test_a_bundle_for_every_runtime_holds_each_encoding_once(run_folder: Path) -> None:
    written = bundle_run(Run.open(run_folder), BundleSettings(), Quiet())
    both, cpu = ["tensorrt", "tensorrt-rtx"], ["openvino", "onnxruntime"]
    assert models(written.folder) == {
        "models/fp32.onnx": both + cpu,
        "models/fp16.onnx": both,
        "models/int8-s8.onnx": both,
        "models/int8-u8s8.onnx": cpu,
    }
    Run.open(run_folder).verify()  # the bundle's files are recorded in the run
    assert written.archive.stat().st_size < written.size


def test_what_is_no_bundle_is_not_replaced_by_one(run_folder: Path) -> None:
    run, settings = Run.open(run_folder), BundleSettings(("onnxruntime",), ("fp32",))
    with pytest.raises(UsageError, match=r"runs/small exists and is not a bundle\. Choose another folder with --out"):
        bundle_run(run, settings, Quiet(), run_folder.parent)
    run.verify()
    for _ in range(2):  # first into an empty folder, then over an earlier bundle
        Path("out/small").mkdir(parents=True, exist_ok=True)
        bundle_run(run, settings, Quiet(), Path("out"))


def test_what_a_killed_bundle_left_beside_it_goes_with_the_next(run_folder: Path) -> None:
    run, settings = Run.open(run_folder), BundleSettings(("onnxruntime",), ("fp32",))
    bundle_run(run, settings, Quiet(), Path("out"))
    killed = "import os, sys; from calibration.files import replacing, replacing_folder\n"
    killed += "with replacing_folder(sys.argv[1]), replacing(sys.argv[1] + '.tar.gz'): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", killed, "out/small"], check=False).returncode == -9
    Path("out/.small-2.abcdefgh.part").touch()  # of another run's bundle
    bundle_run(run, settings, Quiet(), Path("out"))
    assert {path.name for path in Path("out").iterdir()} == {"small", "small.tar.gz", ".small-2.abcdefgh.part"}


@pytest.mark.parametrize("name", ["small.tar.gz", "small/manifest.json"])
def test_a_backup_of_the_run_is_not_replaced_by_a_bundles_archive(run_folder: Path, name: str) -> None:
    """`tar czf small.tar.gz runs/small` has the name that a bundle's archive has."""
    backup = Path("small.tar.gz")
    with tarfile.open(backup, "w:gz") as tar:
        tar.add(run_folder / "run.json", name)
    before = backup.read_bytes()
    with pytest.raises(UsageError, match=r"small\.tar\.gz exists and is not a bundle\. Choose another folder"):
        bundle_run(Run.open(run_folder), BundleSettings(("onnxruntime",), ("fp32",)), Quiet(), Path())
    assert backup.read_bytes() == before and not Path("small").exists()


@pytest.mark.parametrize("out", [None, Path("out")])
def test_depth_that_a_bundle_predicted_is_not_removed_with_it(run_folder: Path, out: Path | None) -> None:
    run, settings = Run.open(run_folder), BundleSettings(("onnxruntime",), ("fp32",))
    depth = bundle_run(run, settings, Quiet(), out).folder / "depth" / "room.depth.png"
    depth.parent.mkdir()
    depth.touch()
    with pytest.raises(UsageError, match=r"depth holds depth that run\.py predicted.*Move .*depth away"):
        bundle_run(run, settings, Quiet(), out)
    assert depth.exists()


def test_a_bundle_of_the_run_that_lost_its_manifest_is_made_anew(run_folder: Path) -> None:
    run, settings = Run.open(run_folder), BundleSettings(("onnxruntime",), ("fp32",))
    (bundle_run(run, settings, Quiet()).folder / "manifest.json").unlink()
    bundle_run(run, settings, Quiet())
    Run.open(run_folder).verify()


def test_from_within_a_run_its_bundle_has_its_name_too(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run_folder)
    written = bundle_run(Run.open(Path()), BundleSettings(("onnxruntime",), ("fp32",)), Quiet())
    assert (written.folder, written.archive) == (Path("bundle/small"), Path("bundle/small.tar.gz"))


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_a_bundle_takes_what_was_exported_within_a_budget_as_it_is(run_folder: Path, target: str) -> None:
    if not get_target(target).status().can_build:
        pytest.skip(f"not installed: {target}")
    run, tight = Run.open(run_folder), ExportSettings((target,), ("int8",), max_drift=0.0005)
    (exported,) = export_run(run, tight, Quiet()).exported
    assert exported.artefact.settings["float_layers"]
    bundle_run(run, BundleSettings((target,), ("int8",)), Quiet())
    bundled = read_artefact(artefact_folder(run, "onnxruntime-int8"))
    assert bundled.settings["float_layers"] == exported.artefact.settings["float_layers"]
    assert not export_run(run, tight, Quiet()).exported[0].fresh


def test_what_is_asked_for_alone_goes_in(run_folder: Path) -> None:
    settings = BundleSettings(("openvino",), ("int8",))
    written = bundle_run(Run.open(run_folder), settings, Quiet(), out=Path("elsewhere"))
    assert models(written.folder) == {"models/int8-u8s8.onnx": ["openvino"]}
    assert written.folder == Path("elsewhere/small") and not (written.folder / "build.sh").exists()


def test_the_command_that_makes_a_damaged_bundle_anew_is_the_one_that_was_given(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--target", "onnxruntime", "--precision", "fp32", "--camera", "96x64"]
    assert run(["bundle", "small", *options]) == 0
    (run_folder / "bundle" / "small" / "run.py").write_text("")
    capsys.readouterr()
    assert run(["verify", "small"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"edgekd bundle runs/small {' '.join(options)}")
    engine = BundleSettings(("tensorrt",), engine=EngineOptions.parse("batch=2,workspace=64"))
    assert engine.options() == " --target tensorrt --engine workspace=64,batch=2"


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"targets": ("tensorflow",)}, UnknownNameError), ({"precisions": ("int4",)}, UnknownNameError)],
)
def test_names_that_are_not_known(settings: dict[str, tuple[str, ...]], error: type[Exception]) -> None:
    with pytest.raises(error):
        BundleSettings(**settings)


def test_a_precision_that_no_runtime_asked_for_has(run_folder: Path) -> None:
    with pytest.raises(UsageError, match="No fp16 model for onnxruntime"):
        bundle_run(Run.open(run_folder), BundleSettings(("onnxruntime",), ("fp16",)), Quiet())


def test_the_verb_makes_one_that_runs(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["bundle", "small", "--target", "onnxruntime", "--precision", "fp32", "--camera", "96x64", "--json"]) == 0
    )
    out, err = capsys.readouterr()
    value = json.loads(out)
    assert value["tolerances"] == {"models/fp32.onnx": 0.01} and "python3 run.py" in err
    frame = np.asarray(Image.open(Path(value["folder"]) / "selftest" / "picture.png"))
    assert frame.shape == (64, 96, 3)
    command = [sys.executable, "run.py", "--seconds", "0", "--runtime", "onnxruntime"]
    done = subprocess.run(command, cwd=value["folder"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "fp32: self-test passed" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bundle", "small", "--camera", "big"], "'big' is not a camera size"),
        (["bundle", "small", "--engine", "effort=7"], "effort=7 is out of range"),
        (["export", "small", "--engine", "workspce=1"], "Did you mean workspace=N"),
        (["export", "small", "--target", "openvino", "--engine", "batch=1"], "are for TensorRT"),
        (["export", "small", "--on", "x@y", "--force"], "--force are for exports on this machine"),
    ],
)
def test_wrong_usage_is_one_line(
    run_folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert run(arguments) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_engine_options_are_part_of_what_was_asked(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed")
    words = ["export", "small", "--target", "tensorrt-rtx", "--precision", "fp32"]
    for engine, fresh in (
        (["--engine", "workspace=64,batch=2"], True),
        (["--engine", "batch=2,workspace=64"], False),
        ([], True),
    ):
        assert run([*words, *engine, "--json"]) == 0
        (made,) = json.loads(capsys.readouterr().out)["exported"]
        assert made["fresh"] is fresh
    key = json.loads((run_folder / "artefacts/tensorrt-rtx-fp32/model.engine.key.json").read_text())["key"]
    assert key["options"]["batch"] == 8 and key["version"] == made["versions"]["tensorrt-rtx"]


def test_the_pre_flight_of_a_run_and_of_a_file(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["preflight", "small", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["model"].endswith("onnx/student.onnx")
    assert all(verdict["findings"] == [] for verdict in found["verdicts"])
    Path("broken.onnx").write_text("no model")
    assert run(["preflight", "broken.onnx"]) == 1
    assert "broken.onnx is not an ONNX model" in capsys.readouterr().err
    assert run(["preflight", "missing.onnx"]) == 1
