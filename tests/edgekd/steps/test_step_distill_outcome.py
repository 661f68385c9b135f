"""What a distillation ends with: a whole run however it was trained, and what is said of a poor student."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from notes import Notes
from short_distillations import SETTINGS

torch = pytest.importorskip("torch", reason="distilling needs torch")
pytest.importorskip("onnxscript", reason="exporting from torch needs onnxscript")
pytest.importorskip("embreex", reason="simulating rooms needs embreex")

from odd_teachers import HEIGHT, TEACHER, WIDTH, Net, with_statistics  # noqa: E402

from calibration.errors import ModelError  # noqa: E402
from calibration.images import CalibrationSet  # noqa: E402
from calibration.progress import Quiet  # noqa: E402
from edgekd.distill.adapt import load_transform, transformed_images  # noqa: E402
from edgekd.distill.batches import Batches  # noqa: E402
from edgekd.distill.framed_images import FramedImages  # noqa: E402
from edgekd.distill.settings import GrowthSettings  # noqa: E402
from edgekd.models.students import build_student  # noqa: E402
from edgekd.models.weights import load_weights  # noqa: E402
from edgekd.run import Run  # noqa: E402
from edgekd.simulate.rooms import RoomSettings  # noqa: E402
from edgekd.simulate.store import SimulatedSet, write_set  # noqa: E402
from edgekd.steps.distill import DistillRequest, distill_run  # noqa: E402
from edgekd.steps.images import ImagesSpec  # noqa: E402
from edgekd.steps.outcome import require_learnt  # noqa: E402
from targets.input import Framing  # noqa: E402
from targets.statistics import read_statistics  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def test_it_is_said_whether_the_transformation_carries_to_layers_it_was_not_fitted_to(
    distill_request: DistillRequest,
) -> None:
    notes = Notes()
    request = replace(distill_request, teacher="odd_teachers:with_two_layers", student="mobile-s", out=Path("runs/two"))
    distill_run(request, notes)
    (said,) = [line for line in notes.said if line.startswith("Distance to the teacher's statistics: matched layers")]
    assert ", the others " in said
    assert any(
        ("hardly came closer" in line or "moved further away" in line) and "--no-transformation" in line
        for line in notes.said
    )
    again = Notes()
    distill_run(request, again)
    assert said in again.said


@pytest.mark.filterwarnings("ignore")  # torch's older exporter is deprecated
def test_an_ordinary_onnx_file_is_distilled_into_a_student_cut_from_it(distill_request: DistillRequest) -> None:
    """Its BatchNorm is folded; what the layers added in its place hold is of simulated pictures, and not exported."""
    network = with_statistics().module
    torch.onnx.export(network, (torch.rand(1, 3, HEIGHT, WIDTH),), "folded.onnx", dynamo=False)
    settings = replace(SETTINGS, transform=None)
    request = replace(distill_request, teacher="folded.onnx", student="slim-s", out=Path("runs/folded"))
    notes = Notes()
    run = distill_run(replace(request, settings=settings), notes)
    assert any("folded on export" in line for line in notes.said)
    assert not any("can be solved for" in line for line in notes.said)
    run.verify()
    assert read_statistics(onnx.load(run.folder / "onnx" / "student.onnx")) == {}
    with pytest.raises(ModelError, match=r"distil without them \(--no-transformation\)"):
        distill_run(replace(request, out=Path("runs/other")), Quiet())


def test_a_student_that_diverged_is_not_passed_off_as_one(distill_request: DistillRequest) -> None:
    """Its loss is finite: it outputs the largest or the smallest depth that it can, everywhere."""
    diverging = replace(
        distill_request, settings=replace(SETTINGS, steps=12, learning_rate=3.0), out=Path("runs/diverged")
    )
    with pytest.raises(ModelError, match=r"for every pixel of every picture.*lower --learning-rate and --force"):
        distill_run(diverging, Quiet())
    assert not Path("runs/diverged/student.safetensors").exists()
    again = replace(distill_request, out=Path("runs/diverged"), force=True)
    distill_run(again, Quiet()).verify()


def test_a_student_that_is_no_nearer_than_one_depth_is_told_of(distill_request: DistillRequest) -> None:
    notes = Notes()
    settings = replace(SETTINGS, steps=1, learning_rate=1e-9, seed=5)
    run = distill_run(replace(distill_request, settings=settings), notes)
    assert any("no closer to with than one depth for all pixels" in line for line in notes.said)

    # The seed decides the student's first weights, which it still has, and the noise of the calibration pictures.
    first = build_student("mobile-s", with_statistics(), 5)
    kept = load_weights(run.folder / "student.safetensors").tensors
    for name, parameter in first.named_parameters():
        torch.testing.assert_close(kept[name], parameter.detach(), rtol=0, atol=1e-6)
    source = SimulatedSet.open(distill_request.images.folder)
    aside = Batches(FramedImages(source, Framing(HEIGHT, WIDTH)), settings).aside()
    expected = transformed_images(load_transform(run.folder / "transform.safetensors"), aside, seed=5)
    assert np.array_equal(CalibrationSet.open(run.folder / "calibration").images, expected)


@pytest.mark.parametrize("gives", [float("nan"), float("inf")])
def test_a_student_that_gives_no_numbers_is_not_passed_off_as_one(gives: float) -> None:
    class Broken(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).where(x[:, :1] > 0.1, torch.tensor(gives))

    pictures = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, 3), np.uint8)
    with pytest.raises(ModelError, match=r"NaN or infinite depth: its training diverged.*--learning-rate"):
        require_learnt(Broken(normalised=True), with_statistics(), pictures, Quiet())


def test_training_while_rooms_are_rendered_gives_the_student_of_the_finished_set(
    distill_request: DistillRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(Path("cache").resolve()))
    settings = replace(SETTINGS, growth=GrowthSettings(first=16, until=0.5))
    request = replace(distill_request, images=ImagesSpec(count=48, seed=9), settings=settings)
    growing = distill_run(replace(request, out=Path("runs/growing")), Quiet())
    shards = {path: path.stat().st_mtime_ns for path in Path("cache").rglob("*.tar")}
    assert len(shards) == 2
    ready = distill_run(replace(request, out=Path("runs/ready")), Quiet())
    assert {path: path.stat().st_mtime_ns for path in Path("cache").rglob("*.tar")} == shards
    for name in ("student.safetensors", "calibration/images.npy"):
        assert (growing.folder / name).read_bytes() == (ready.folder / name).read_bytes(), name


def test_torchrun_makes_a_whole_run_that_one_process_tells_of(tmp_path: Path) -> None:
    """As in the README, with the precision that `auto` chooses on a GPU."""
    rooms = RoomSettings(height=HEIGHT, width=WIDTH, views_per_room=140)
    write_set(tmp_path / "set", rooms, seed=0, count=140, workers=1, keep_depth=False, progress=Quiet())
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    command = (
        f"{Path(sys.executable).with_name('edgekd')} distill --teacher {TEACHER} --student mobile-s --images set"
        " --batch 4 --steps 2 --precision bfloat16 --device cpu --out two --json"
    )
    here = Path(__file__).parent  # holds the teacher's module
    ended = subprocess.run(
        [*torchrun, *command.split()],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(here)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert json.loads(ended.stdout)["run"] == "two"  # one document: the other process is silent
    Run.open(tmp_path / "two").verify()
    assert (tmp_path / "two/onnx/student.onnx").exists()
