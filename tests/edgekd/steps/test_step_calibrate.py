"""Calibrating a teacher without a student."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from notes import Notes
from short_distillations import SETTINGS

torch = pytest.importorskip("torch", reason="distilling needs torch")
pytest.importorskip("onnxscript", reason="exporting from torch needs onnxscript")
pytest.importorskip("embreex", reason="simulating rooms needs embreex")

from odd_teachers import HEIGHT, TEACHER, WIDTH, with_statistics, without_statistics  # noqa: E402

from calibration.images import CalibrationSet  # noqa: E402
from edgekd.steps.calibrate import CalibrateRequest, calibrate_run  # noqa: E402
from edgekd.steps.check import read_references  # noqa: E402
from edgekd.steps.distill import DistillRequest  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("statistics", [True, False])
def test_a_teacher_is_calibrated_without_a_student(distill_request: DistillRequest, statistics: bool) -> None:
    spec = TEACHER if statistics else "odd_teachers:without_statistics"
    notes = Notes()
    settings = replace(SETTINGS, mixing=None)
    run = calibrate_run(CalibrateRequest(spec, images=distill_request.images, settings=settings, device="cpu"), notes)
    run.verify()
    calibration = CalibrationSet.open(run.folder / "calibration")
    assert (calibration.count, calibration.height, calibration.width) == (8, HEIGHT, WIDTH)
    assert ("transformed" in calibration.origin) == statistics
    assert calibration.origin.startswith("the given images")  # of a folder, which need not show rooms
    assert any("has no statistics to fit" in line for line in notes.said) == (not statistics)
    references = read_references(run)
    assert references.teacher is None
    teacher = with_statistics() if statistics else without_statistics()
    pictures = torch.from_numpy(np.array(calibration.images)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        np.testing.assert_allclose(references.model, teacher.module(pictures)[:, 0], rtol=1e-4)
