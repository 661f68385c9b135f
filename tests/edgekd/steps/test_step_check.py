"""Drift without labels, against depths at a known distance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_network import pictures

from calibration.errors import DataError, RunError
from calibration.progress import Quiet
from edgekd.run import Run, locked
from edgekd.steps import check
from edgekd.steps.check import check_run
from targets.base import Artefact


def test_drift_from_the_model_and_from_a_teacher_a_tenth_farther_away(exported_run: Path) -> None:
    rows = {row.name: row for row in check_run(Run.open(exported_run), (), Quiet()).rows}
    assert list(rows) == ["fp32 student", "onnxruntime-fp32", "onnxruntime-int8"]
    student, exact, rounded = rows.values()
    assert student.from_model is None and student.from_teacher is not None
    # The teacher of the fixture gives 1.1 times the model's depth: |1 - 1.1| / 1.1, and a scale of 1 / 1.1.
    assert student.from_teacher.abs_rel == pytest.approx(0.1 / 1.1, rel=1e-4)
    assert student.from_teacher.scale_ratio == pytest.approx(1 / 1.1, rel=1e-4)
    assert student.from_teacher.abs_rel_aligned == pytest.approx(0, abs=1e-5)
    assert exact.from_model is not None and exact.from_model.abs_rel < 1e-5
    assert rounded.from_model is not None and 1e-5 < rounded.from_model.abs_rel < 0.05
    assert exact.from_teacher is not None and exact.from_teacher.abs_rel == pytest.approx(0.1 / 1.1, rel=1e-3)


def test_drift_is_the_artefacts_error_and_not_the_models(exported_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    infer = check._infer
    monkeypatch.setattr(check, "_infer", lambda *given: [1.25 * depth for depth in infer(*given)])
    (_, row, _) = check_run(Run.open(exported_run), (), Quiet()).rows
    assert row.from_model is not None and row.from_teacher is not None
    assert (row.from_model.abs_rel, row.from_model.scale_ratio) == pytest.approx((0.25, 1.25), rel=1e-4)
    assert row.from_teacher.scale_ratio == pytest.approx(1.25 / 1.1, rel=1e-4)


def test_the_result_is_json(exported_run: Path) -> None:
    value = check_run(Run.open(exported_run), ("onnxruntime",), Quiet()).to_json()
    assert json.loads(json.dumps(value, allow_nan=False))["rows"][0]["name"] == "fp32 student"


def test_an_artefact_whose_depth_is_no_number_costs_its_own_row_alone(
    exported_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a frame overflows float16."""
    infer = check._infer

    def broken(artefact: Artefact, *given: Any) -> list[np.ndarray]:
        depths = infer(artefact, *given)
        return [depth * np.nan for depth in depths] if artefact.precision == "fp32" else depths

    monkeypatch.setattr(check, "_infer", broken)
    rows = {row.name: row for row in check_run(Run.open(exported_run), (), Quiet()).rows}
    assert "is not finite" in (rows["onnxruntime-fp32"].reason or "") and rows["onnxruntime-fp32"].from_model is None
    assert rows["onnxruntime-int8"].from_model is not None


def test_a_frame_without_depth_is_named_and_nothing_is_measured_on_the_others(
    exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = check.infer_model
    monkeypatch.setattr(check, "infer_model", lambda *given: real(*given) * np.reshape([1, 0, 1], (3, 1, 1)))
    with pytest.raises(DataError, match="Picture 2 of 3 has no pixel with valid depth in the fp32 model"):
        check_run(Run.open(exported_run), (), Quiet(), frames(tmp_path / "frames", pictures(3)))


def test_depths_that_were_altered_are_not_compared_with(exported_run: Path) -> None:
    path = exported_run / "check" / "model.npy"
    np.save(path, np.load(path) * 2)
    with pytest.raises(RunError, match=r"check/model\.npy was altered.*edgekd distill"):
        check_run(Run.open(exported_run), (), Quiet())


def test_a_run_that_another_process_writes_is_checked_and_left_alone(exported_run: Path) -> None:
    written = (exported_run / "run.json").read_bytes()
    with locked(exported_run):
        layers = check_run(Run.open(exported_run), (), Quiet()).layers
    assert (exported_run / "run.json").read_bytes() == written and not (exported_run / "coverage.json").exists()
    assert check_run(Run.open(exported_run), (), Quiet()).layers == layers  # now kept, and the same when read back


def frames(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


def test_coverage_is_told_by_layer_and_measured_once(exported_run: Path) -> None:
    layers = check_run(Run.open(exported_run), (), Quiet()).layers
    assert len(layers) == 4  # between the first layer and the output layer
    assert all(layer.low <= 0 < layer.high for layer in layers)
    written = (exported_run / "coverage.json").stat().st_mtime_ns
    assert check_run(Run.open(exported_run), (), Quiet()).layers == layers
    assert (exported_run / "coverage.json").stat().st_mtime_ns == written
    Run.open(exported_run).verify()


def test_frames_measure_drift_and_the_verdict_on_the_ranges(exported_run: Path, tmp_path: Path) -> None:
    alike = check_run(Run.open(exported_run), (), Quiet(), frames(tmp_path / "alike", pictures(6, seed=9)))
    noise = np.random.default_rng(0).integers(0, 2, (6, 32, 48, 3), dtype=np.uint8) * 255
    other = check_run(Run.open(exported_run), (), Quiet(), frames(tmp_path / "other", noise))
    for result in (alike, other):
        drift = {row.name: row.on_frames for row in result.rows if row.on_frames is not None}
        assert drift["onnxruntime-fp32"].abs_rel < 1e-5 < drift["onnxruntime-int8"].abs_rel
        assert len(result.frames.saturated) == len(result.layers)
        pairs = zip(result.layers, result.frames.saturated, strict=True)
        assert result.frames.agreeing == sum(layer.narrow == (seen > 1e-4) for layer, seen in pairs)
    assert max(other.frames.saturated) > 10 * max(alike.frames.saturated)


def test_a_folder_without_pictures_is_named(exported_run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="empty"):
        check_run(Run.open(exported_run), (), Quiet(), frames(tmp_path / "empty", pictures(1)[:0]))
