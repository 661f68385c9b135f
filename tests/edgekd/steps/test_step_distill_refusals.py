"""What is refused before anything is trained, and that it leaves a finished run as it was."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from short_distillations import SETTINGS, interrupted

torch = pytest.importorskip("torch", reason="distilling needs torch")
pytest.importorskip("onnxscript", reason="exporting from torch needs onnxscript")
pytest.importorskip("embreex", reason="simulating rooms needs embreex")

from odd_teachers import HEIGHT, TEACHER, WIDTH, Blind  # noqa: E402
from PIL import Image  # noqa: E402

from calibration.errors import DataError, FileError, ModelError, UnknownNameError  # noqa: E402
from calibration.progress import Quiet  # noqa: E402
from edgekd.distill.batches import Batches  # noqa: E402
from edgekd.distill.framed_images import FramedImages  # noqa: E402
from edgekd.run import Run  # noqa: E402
from edgekd.simulate.store import SimulatedSet  # noqa: E402
from edgekd.steps.artefacts import run_model  # noqa: E402
from edgekd.steps.calibrate import CalibrateRequest, calibrate_run  # noqa: E402
from edgekd.steps.distill import DistillRequest, distill_run  # noqa: E402
from edgekd.steps.images import ImagesSpec  # noqa: E402
from targets.input import Framing  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_teacher_without_depth_for_a_picture_set_aside_is_told_of_before_training(
    distill_request: DistillRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No batch holds that picture: otherwise it would be noticed after the last step."""
    source = SimulatedSet.open(distill_request.images.folder)
    aside = Batches(FramedImages(source, Framing(HEIGHT, WIDTH)), SETTINGS).aside()
    monkeypatch.setattr(Blind, "brightness", float(aside[3].mean()) / 255)
    blind = replace(distill_request, teacher="odd_teachers:that_is_blind", out=Path("runs/blind"))
    with pytest.raises(ModelError, match="blind outputs NaN or infinite depth for pictures that were set aside"):
        distill_run(blind, Quiet())
    assert not Path("runs/blind/metrics.jsonl").exists()


def test_a_cache_that_cannot_be_written_to_is_named_before_anything_else(distill_request: DistillRequest) -> None:
    Path("a file").touch()
    with pytest.MonkeyPatch.context() as patched, pytest.raises(FileError, match="EDGEKD_CACHE"):
        patched.setenv("EDGEKD_CACHE", "a file/cache")
        patched.setattr("edgekd.steps.distill.require_exportable", interrupted)  # takes half a minute
        distill_run(replace(distill_request, images=ImagesSpec(count=48, seed=9)), Quiet())
    assert not Path("runs").exists()


def test_names_are_checked_before_a_folder_is_made(distill_request: DistillRequest) -> None:
    with pytest.raises(UnknownNameError, match="mobile-s"):
        distill_run(replace(distill_request, student="mobil-s"), Quiet())
    assert not Path("runs").exists()


@pytest.mark.skipif(
    "dynamic_shapes" not in inspect.signature(torch.onnx.export).parameters,
    reason="the exporter of this torch traces, and takes whichever way the example went",
)
def test_what_cannot_be_exported_is_told_before_anything_is_trained(distill_request: DistillRequest) -> None:
    spec = "odd_teachers:that_decides"
    with pytest.raises(ModelError, match="cannot be exported to ONNX"):
        distill_run(replace(distill_request, teacher=spec, student="slim-s", out=Path("distilled")), Quiet())
    with pytest.raises(ModelError, match="cannot be exported to ONNX"):
        calibrate_run(
            CalibrateRequest(spec, images=distill_request.images, settings=SETTINGS, out=Path("as it is")), Quiet()
        )
    assert not list(Path().glob("*/metrics.jsonl")) and not list(Path().glob("*/calibration"))
    assert not Path("distilled").exists()


def test_what_is_refused_at_once_leaves_a_finished_run_as_it_was(distill_request: DistillRequest) -> None:
    run = distill_run(distill_request, Quiet())
    before = (run.folder / "run.json").read_bytes()
    spec = "odd_teachers:without_half_precision"
    half = replace(distill_request.settings, precision="bfloat16")
    for anew in (
        replace(distill_request, teacher=spec, settings=half, force=True),
        replace(distill_request, teacher="odd_teachers:that_decides", student="slim-s", force=True),
    ):
        with pytest.raises(ModelError, match=r"in bfloat16 \(expected .*--precision float32|cannot be exported"):
            distill_run(replace(anew, out=run.folder), Quiet())
        assert (run.folder / "run.json").read_bytes() == before
    run_model(Run.open(run.folder))


@pytest.mark.parametrize(
    ("pictures", "reason"),
    [
        (np.zeros((12, HEIGHT, WIDTH, 3), np.uint8), "are black"),
        (np.repeat(np.random.default_rng(0).integers(0, 256, (1, HEIGHT, WIDTH, 3), np.uint8), 12, 0), "one picture"),
    ],
)
def test_pictures_that_cannot_calibrate_are_told_of_before_anything_is_written(
    distill_request: DistillRequest, pictures: np.ndarray, reason: str
) -> None:
    Path("pictures").mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(f"pictures/{number}.png")
    images = ImagesSpec(folder=Path("pictures"))
    with pytest.raises(DataError, match=f"pictures: .*{reason}"):
        distill_run(replace(distill_request, images=images, out=Path("distilled")), Quiet())
    with pytest.raises(DataError, match=f"pictures: .*{reason}"):
        calibrate_run(CalibrateRequest(TEACHER, images=images, settings=SETTINGS, out=Path("as it is")), Quiet())
    assert not Path("distilled").exists() and not Path("as it is").exists()


def test_a_folded_teacher_is_told_so_before_anything_is_written(distill_request: DistillRequest) -> None:
    folded = replace(distill_request, teacher="odd_teachers:without_statistics")
    with pytest.raises(ModelError, match=r"was folded on export.*--no-transformation"):
        distill_run(folded, Quiet())
    assert not Path("runs").exists()
