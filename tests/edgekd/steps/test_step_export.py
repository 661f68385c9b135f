"""Exporting a run: what is built, what is skipped, what is reported about the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from notes import Notes
from small_network import pictures

from calibration.errors import ArtefactError, BudgetError, MissingRuntimeError, RunError, UnknownNameError, UsageError
from calibration.images import CalibrationSet
from calibration.progress import Quiet
from edgekd.run import Run
from edgekd.steps.artefacts import built_artefacts, choose_artefact
from edgekd.steps.export import ExportResult, ExportSettings, export_run
from targets import get_target
from targets.artefact import ENGINE_OPTIONS, open_artefact, rebuild_command
from targets.board.options import EngineOptions

pytest.importorskip("onnxruntime", reason="the artefacts of these tests are built for onnxruntime")


def export(folder: Path, **settings: object) -> ExportResult:
    asked = ExportSettings(**{"targets": ("onnxruntime",), **settings})  # type: ignore[arg-type]
    return export_run(Run.open(folder), asked, Notes())


def fresh(result: ExportResult) -> dict[str, bool]:
    return {exported.artefact.name: exported.fresh for exported in result.exported}


def test_a_second_export_builds_nothing_and_force_builds_all(run_folder: Path) -> None:
    assert fresh(export(run_folder)) == {"onnxruntime-fp32": True, "onnxruntime-int8": True}
    before = {path: path.stat().st_mtime_ns for path in (run_folder / "artefacts").rglob("*")}
    assert fresh(export(run_folder)) == {"onnxruntime-fp32": False, "onnxruntime-int8": False}
    assert {path: path.stat().st_mtime_ns for path in (run_folder / "artefacts").rglob("*")} == before
    assert all(fresh(export(run_folder, force=True)).values())


def test_an_artefact_is_built_anew_when_anything_that_it_was_made_with_changes(
    exported_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("edgekd.steps.export.RECIPE", 99)  # int8 models are made in another way
        assert fresh(export(exported_run)) == {"onnxruntime-fp32": False, "onnxruntime-int8": True}
    target, found = type(get_target("onnxruntime")), get_target("onnxruntime").status()
    with monkeypatch.context() as patched:
        patched.setattr(target, "status", lambda self: replace(found, version="0.1"))
        assert fresh(export(exported_run, precisions=("fp32",))) == {"onnxruntime-fp32": True}
    assert fresh(export(exported_run, precisions=("fp32",))) == {"onnxruntime-fp32": True}
    assert fresh(export(exported_run, precisions=("fp32",), device="cpu")) == {"onnxruntime-fp32": True}
    assert open_artefact(exported_run / "artefacts" / "onnxruntime-fp32").device == "cpu"
    assert fresh(export(exported_run, precisions=("fp32",), device="cpu")) == {"onnxruntime-fp32": False}
    run = Run.open(exported_run)
    with run.lock(), run.step("calibration", inputs={}, asked={}, command="edgekd distill") as made:
        CalibrationSet.write(run.folder / "calibration", pictures(24, seed=3), origin="others", made_from={})
        made.add(run.folder / "calibration")
    assert fresh(export(exported_run, precisions=("fp32",), device="cpu")) == {"onnxruntime-fp32": True}


def test_what_is_damaged_is_built_anew_by_the_same_command(exported_run: Path) -> None:
    (exported_run / "artefacts" / "onnxruntime-int8" / "model.onnx").write_bytes(b"truncated")
    with pytest.raises(RunError, match="edgekd export runs/small --target onnxruntime --precision int8"):
        built_artefacts(Run.open(exported_run))
    assert fresh(export(exported_run)) == {"onnxruntime-fp32": False, "onnxruntime-int8": True}
    assert len(built_artefacts(Run.open(exported_run))) == 2


def test_the_command_that_builds_anew_names_the_run_and_all_that_was_asked(run_folder: Path) -> None:
    export(run_folder, device="cpu", precisions=("int8",), max_drift=0.9)
    (artefact,) = built_artefacts(Run.open(run_folder))
    assert rebuild_command(artefact) == (
        "edgekd export runs/small --target onnxruntime --precision int8 --device cpu --max-drift 0.9 --force"
    )


def test_what_was_built_without_a_device_is_built_anew_where_one_is(
    run_folder: Path, pretend_device: dict[str, str]
) -> None:
    def edgekd(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgekd", *words, "--target", "tensorrt"]
        settings = pretend_device | environment
        return subprocess.run(command, env=settings, capture_output=True, text=True, check=False)

    first = edgekd("export", "runs/small", "--precision", "fp32", PRETEND_NO_DEVICE="1")
    assert first.returncode == 0, first.stderr
    (built,) = built_artefacts(Run.open(run_folder))
    assert not built.can_run_here
    before = edgekd("check", "runs/small", "--json")
    (row,) = [row for row in json.loads(before.stdout)["rows"] if row["name"] == "tensorrt-fp32"]
    assert row["reason"] == "built on a machine without the device"
    assert row["fix"].endswith("edgekd export runs/small --target tensorrt --precision fp32 --force")
    again = edgekd("export", "runs/small", "--precision", "fp32")
    assert again.returncode == 0 and "rebuilding it for this one" in again.stderr, again.stderr
    assert "up to date" in edgekd("export", "runs/small", "--precision", "fp32").stderr
    after = edgekd("check", "runs/small", "--json")
    (row,) = [row for row in json.loads(after.stdout)["rows"] if row["name"] == "tensorrt-fp32"]
    assert row["reason"] is None and row["from_model"]["abs_rel"] < 0.05


def test_other_engine_options_build_an_engine_anew_and_are_asked_of_it_again(run_folder: Path) -> None:
    asked = {"targets": ("tensorrt",), "precisions": ("fp32",)}
    export(run_folder, **asked)
    for again in (True, False):
        result = export(run_folder, **asked, engine=EngineOptions(effort=5, batch=2))
        assert fresh(result) == {"tensorrt-fp32": again}
    (artefact,) = built_artefacts(Run.open(run_folder))
    assert EngineOptions.parse(artefact.settings[ENGINE_OPTIONS]) == EngineOptions(effort=5, batch=2)
    assert "--engine effort=5,batch=2" in rebuild_command(artefact)


def test_a_device_of_other_runtimes_leaves_the_engines_out_where_no_target_was_named(run_folder: Path) -> None:
    result = export(run_folder, targets=(), precisions=("fp32",), device="cpu")
    assert "onnxruntime-fp32" in fresh(result)
    assert {left.name: left.error for left in result.left_out}["tensorrt"] is None


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
def test_engines_are_of_the_first_gpu_and_another_device_is_refused(run_folder: Path, target: str) -> None:
    result = export(run_folder, targets=(target,), precisions=("fp32",), device="cuda:1")
    (left,) = result.left_out
    assert not result.exported and "the first GPU, not on 'cuda:1'" in left.reason and "--engine dla=0" in left.fix


def test_an_artefact_of_another_model_is_refused_with_the_command_that_mends_it(exported_run: Path) -> None:
    from small_network import save, small_network

    run = Run.open(exported_run)
    with run.lock(), run.step("distill", inputs={}, asked={}, command="edgekd distill") as made:
        made.add(save(small_network(offset=0.9), exported_run / "onnx" / "student.onnx"))
    with pytest.raises(ArtefactError, match=r"different model.*: edgekd export runs/small --force$"):
        built_artefacts(Run.open(exported_run))
    assert all(fresh(export(exported_run)).values())


def test_one_command_builds_all_artefacts_of_another_model_anew(run_folder: Path) -> None:
    from small_network import save, small_network

    export(run_folder, targets=("onnxruntime",), precisions=("fp32",))
    export(run_folder, targets=("tensorrt",), precisions=("fp16",))
    run = Run.open(run_folder)
    with run.lock(), run.step("distill", inputs={}, asked={}, command="edgekd distill") as made:
        made.add(save(small_network(offset=0.9), run_folder / "onnx" / "student.onnx"))
    with pytest.raises(ArtefactError, match=r": edgekd export .* --precision fp32 --precision fp16 --force$"):
        built_artefacts(Run.open(run_folder))
    export(run_folder, targets=(), precisions=("fp32", "fp16"), force=True)
    names = {artefact.name for artefact in built_artefacts(Run.open(run_folder))}
    assert names >= {"onnxruntime-fp32", "tensorrt-fp16"}


def test_what_was_asked_of_an_artefact_is_asked_again_when_it_is_built_anew(run_folder: Path) -> None:
    from small_network import save, small_network

    export(run_folder, targets=("onnxruntime",), precisions=("fp32",))
    export(run_folder, targets=("tensorrt",), precisions=("int8",), max_drift=0.5)
    run = Run.open(run_folder)
    with run.lock(), run.step("distill", inputs={}, asked={}, command="edgekd distill") as made:
        made.add(save(small_network(offset=0.9), run_folder / "onnx" / "student.onnx"))
    with pytest.raises(ArtefactError) as raised:
        built_artefacts(Run.open(run_folder))
    assert raised.value.fix == (
        f"Rebuild it: edgekd export {run_folder} --target onnxruntime --precision fp32 --force"
        f" && edgekd export {run_folder} --target tensorrt --precision int8 --max-drift 0.5 --force"
    )


def test_a_runtime_that_is_missing_stops_only_who_named_it(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingRuntimeError, match="pip install"):
        export(run_folder, targets=("openvino",))
    monkeypatch.setattr("targets.TARGETS", {n: t for n, t in _targets().items() if n in ("onnxruntime", "openvino")})
    notes = Notes()
    result = export_run(Run.open(run_folder), ExportSettings(precisions=("fp32",)), notes)
    assert [exported.artefact.name for exported in result.exported] == ["onnxruntime-fp32"]
    assert [left.name for left in result.left_out] == ["openvino"]
    assert any("Skipped openvino" in line and "pip install" in line for line in notes.said)
    result.raise_failures(ExportSettings())  # a target that was not named is no failure


def test_what_was_built_and_cannot_be_timed_is_kept_and_shown(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ArtefactError("There is no memory left on the device", fix="Free some")

    monkeypatch.setattr("edgekd.steps.export.measure_latency", refuse)
    notes = Notes()
    result = export_run(Run.open(run_folder), ExportSettings(("onnxruntime",), ("fp32",)), notes)
    assert fresh(result) == {"onnxruntime-fp32": True}
    assert result.exported[0].milliseconds is None
    assert notes.said[-1] == "onnxruntime-fp32 was built but not timed: There is no memory left on the device"


def test_a_budget_that_is_missed_keeps_and_marks_the_artefact(run_folder: Path) -> None:
    strict = ExportSettings(("onnxruntime",), max_drift=1e-9)
    result = export_run(Run.open(run_folder), strict, Quiet())
    with pytest.raises(BudgetError, match="onnxruntime-int8") as caught:
        result.raise_failures(strict)
    assert caught.value.exit_code == 4
    folder = run_folder / "artefacts" / "onnxruntime-int8"
    assert "budget" in open_artefact(folder).settings
    Run.open(run_folder).verify()

    lenient = ExportSettings(("onnxruntime",), max_drift=0.9)
    result = export_run(Run.open(run_folder), lenient, Quiet())
    result.raise_failures(lenient)
    assert "budget" not in open_artefact(folder).settings
    # The budget decides which layers int8 leaves in float; fp32 does not depend on it.
    assert fresh(result) == {"onnxruntime-fp32": False, "onnxruntime-int8": True}
    assert not any(fresh(export_run(Run.open(run_folder), lenient, Quiet())).values())
    Run.open(run_folder).verify()


def test_within_a_budget_every_target_leaves_the_same_fewest_layers_in_float(run_folder: Path) -> None:
    names = ("onnxruntime", "openvino", "tensorrt")
    if missing := [name for name in names if not get_target(name).status().can_build]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    free = export_run(Run.open(run_folder), ExportSettings(names, ("int8",)), Quiet())
    worst = max(exported.artefact.drift["abs_rel"] for exported in free.exported)
    result = export_run(Run.open(run_folder), ExportSettings(names, ("int8",), max_drift=0.9 * worst), Quiet())
    listed = {exported.artefact.settings["float_layers"] for exported in result.exported}
    assert len(listed) == 1
    assert [layer.name for layer in result.float_layers] == listed.pop().split(", ")
    assert all(layer.share > 0 for layer in result.float_layers)
    assert max(exported.artefact.drift["abs_rel"] for exported in result.exported) <= 0.9 * worst
    wide = export_run(Run.open(run_folder), ExportSettings(names, ("int8",), max_drift=2 * worst), Quiet())
    assert {exported.artefact.settings["float_layers"] for exported in wide.exported} == {""}


def test_names_that_cannot_be_meant(run_folder: Path) -> None:
    with pytest.raises(UnknownNameError, match="onnxruntime"):
        export(run_folder, targets=("onxruntime",))
    with pytest.raises(UsageError, match="fp32, fp16, int8"):
        export(run_folder, precisions=("int4",))
    with pytest.raises(UsageError, match="onnxruntime has no fp16"):
        export(run_folder, precisions=("fp16",))
    assert not (run_folder / "artefacts").exists()


def test_the_run_is_asked_before_anything_is_built(run_folder: Path) -> None:
    images = run_folder / "calibration" / "images.npy"
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"calibration/images\.npy .*edgekd distill --teacher small --out runs/small"):
        export(run_folder)


def test_an_artefact_is_chosen_by_name_or_int8_first(exported_run: Path) -> None:
    run = Run.open(exported_run)
    assert choose_artefact(run, None).name == "onnxruntime-int8"
    assert choose_artefact(run, "onnxruntime-fp32").precision == "fp32"
    with pytest.raises(UnknownNameError, match="onnxruntime-int8"):
        choose_artefact(run, "onnxruntime-int4")


def test_a_run_without_artefacts_names_the_command_that_builds_them(run_folder: Path) -> None:
    with pytest.raises(RunError, match="edgekd export runs/small"):
        built_artefacts(Run.open(run_folder))


def _targets() -> dict[str, str]:
    from targets import TARGETS

    return TARGETS
