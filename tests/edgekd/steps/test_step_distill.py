"""Distilling into a run: interrupted, resumed, up to date, refused; and calibrating without a student."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interrupting import InterruptAfter
from notes import Notes

torch = pytest.importorskip("torch", reason="distilling needs torch")
pytest.importorskip("onnxscript", reason="exporting from torch needs onnxscript")
pytest.importorskip("embreex", reason="simulating rooms needs embreex")

from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402

from calibration.errors import DataError, FileError, ModelError, RunError, UnknownNameError  # noqa: E402
from calibration.images import CalibrationSet  # noqa: E402
from calibration.progress import Quiet  # noqa: E402
from edgekd.distill.adapt import load_transform, transformed_images  # noqa: E402
from edgekd.distill.batches import Batches  # noqa: E402
from edgekd.distill.framed_images import FramedImages  # noqa: E402
from edgekd.distill.settings import DistillSettings, GrowthSettings, TransformSettings  # noqa: E402
from edgekd.distill.statistics import StoredStatistics  # noqa: E402
from edgekd.distill.statistics_file import StatisticsFile  # noqa: E402
from edgekd.models.students import build_student  # noqa: E402
from edgekd.models.teacher import Teacher  # noqa: E402
from edgekd.models.weights import load_weights  # noqa: E402
from edgekd.run import Run  # noqa: E402
from edgekd.simulate.rooms import RoomSettings  # noqa: E402
from edgekd.simulate.store import SimulatedSet, write_set  # noqa: E402
from edgekd.steps.artefacts import calibration_set, run_model  # noqa: E402
from edgekd.steps.calibrate import CalibrateRequest, calibrate_run  # noqa: E402
from edgekd.steps.check import read_references  # noqa: E402
from edgekd.steps.distill import DistillRequest, distill_run  # noqa: E402
from edgekd.steps.images import ImagesSpec  # noqa: E402
from edgekd.steps.outcome import require_learnt  # noqa: E402
from targets.input import Framing, InputSpec  # noqa: E402

HEIGHT, WIDTH = 64, 96
TEACHER = "test_step_distill:with_statistics"
SETTINGS = DistillSettings(steps=6, batch=2, set_aside=8, preview_every=4, transform=TransformSettings(warm_up=2))


class _Net(nn.Module):
    def __init__(self, normalised: bool) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(8) if normalised else nn.Identity()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), norm, nn.ReLU(), nn.Conv2d(8, 1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(self.body(x).clamp(-2, 2).exp(), scale_factor=2.0)


def _teacher(name: str, normalised: bool) -> Teacher:
    torch.manual_seed(3)
    net = _Net(normalised).train()
    with torch.no_grad():
        for _ in range(30):
            net(torch.rand(4, 3, HEIGHT, WIDTH) * torch.tensor([0.9, 0.6, 0.4]).view(1, 3, 1, 1))
    return Teacher(name, net.eval(), InputSpec(Framing(HEIGHT, WIDTH)), digest=name, source="made for a test")


def with_statistics() -> Teacher:
    return _teacher("with", normalised=True)


def without_statistics() -> Teacher:
    return _teacher("without", normalised=False)


class _Deciding(_Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * (1.0 if x.mean() > 0 else 2.0)


class _Blending(_Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        depth = super().forward(x)
        return torch.lerp(depth, depth, torch.full((1, 1, 1, 1), 0.5))


def without_half_precision() -> Teacher:
    made = _teacher("blends", normalised=True)
    made.module.__class__ = _Blending
    return made


def that_decides() -> Teacher:
    made = _teacher("decides", normalised=True)
    made.module.__class__ = _Deciding
    return made


class _Blind(_Net):
    brightness = -1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        unseen = (x.mean((1, 2, 3), keepdim=True) - self.brightness).abs() < 1e-6
        return super().forward(x).masked_fill(unseen, torch.inf)


def that_is_blind() -> Teacher:
    """It has no depth for pictures of one brightness."""
    made = _teacher("blind", normalised=True)
    made.module.__class__ = _Blind
    return made


def with_two_layers() -> Teacher:
    """The statistics of its second layer are beyond any picture: no transformation can bring pictures nearer."""
    torch.manual_seed(3)
    made = _teacher("two", normalised=True)
    body = nn.Sequential(made.module.body[0:3], nn.BatchNorm2d(8), made.module.body[3])
    body[1].running_mean.fill_(500.0)
    body[1].weight.data.fill_(0.01)
    body[1].bias.data.fill_(4.0)
    made.module.body = body.eval()
    return made


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """OpenMP's threads busy-wait: on a machine with other work, two of them take forty times as long as one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImagesSpec:
    folder = tmp_path_factory.mktemp("images") / "set"
    settings = RoomSettings(height=HEIGHT, width=WIDTH, views_per_room=24)  # one room: building rooms is slow
    write_set(folder, settings, seed=0, count=24, workers=1, keep_depth=False, progress=Quiet())
    return ImagesSpec(folder=folder)


@pytest.fixture
def distill_request(images: ImagesSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DistillRequest:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return DistillRequest(teacher=TEACHER, student="mobile-s", images=images, settings=SETTINGS, device="cpu")


def test_an_interrupted_distillation_goes_on_and_ends_as_if_nothing_had_been(distill_request: DistillRequest) -> None:
    straight = distill_run(replace(distill_request, out=Path("runs/straight")), Quiet())
    broken = replace(distill_request, out=Path("runs/broken"))
    with pytest.raises(KeyboardInterrupt):
        distill_run(broken, InterruptAfter(5, "Distilling"))
    assert Run.open(Path("runs/broken")).unfinished() == ["distill"]
    notes = Notes()
    resumed = distill_run(broken, notes)
    assert any("Resuming from step" in line for line in notes.said)
    kept = ("student.safetensors", "transform.safetensors", "calibration/images.npy", "check/teacher.npy")
    for name in (*kept, "adaptation.json"):
        assert (resumed.folder / name).read_bytes() == (straight.folder / name).read_bytes(), name
    assert not (resumed.folder / "checkpoint").exists()
    resumed.verify()

    again = Notes()
    distill_run(broken, again)
    assert any("The student is up to date" in line for line in again.said)

    # Only the missing file is made again.
    (resumed.folder / "onnx" / "student.onnx").unlink()
    weights = (resumed.folder / "student.safetensors").stat().st_mtime_ns
    distill_run(broken, Quiet()).verify()
    assert (resumed.folder / "student.safetensors").stat().st_mtime_ns == weights


def test_it_is_said_whether_the_transformation_carries_to_layers_it_was_not_fitted_to(
    distill_request: DistillRequest,
) -> None:
    notes = Notes()
    request = replace(
        distill_request, teacher="test_step_distill:with_two_layers", student="mobile-s", out=Path("runs/two")
    )
    distill_run(request, notes)
    (said,) = [line for line in notes.said if line.startswith("Distance to the teacher's statistics: matched layers")]
    assert ", the others " in said
    assert any("hardly came closer" in line and "--no-transformation" in line for line in notes.said)
    again = Notes()
    distill_run(request, again)
    assert said in again.said


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
    class Broken(_Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).where(x[:, :1] > 0.1, torch.tensor(gives))

    pictures = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, 3), np.uint8)
    with pytest.raises(ModelError, match=r"NaN or infinite depth: its training diverged.*--learning-rate"):
        require_learnt(Broken(normalised=True), with_statistics(), pictures, Quiet())


def test_a_teacher_without_depth_for_a_picture_set_aside_is_told_of_before_training(
    distill_request: DistillRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No batch holds that picture: otherwise it would be noticed after the last step."""
    source = SimulatedSet.open(distill_request.images.folder)
    aside = Batches(FramedImages(source, Framing(HEIGHT, WIDTH)), SETTINGS).aside()
    monkeypatch.setattr(_Blind, "brightness", float(aside[3].mean()) / 255)
    blind = replace(distill_request, teacher="test_step_distill:that_is_blind", out=Path("runs/blind"))
    with pytest.raises(ModelError, match="blind outputs NaN or infinite depth for pictures that were set aside"):
        distill_run(blind, Quiet())
    assert not Path("runs/blind/metrics.jsonl").exists()


def test_a_run_knows_its_command_before_anything_is_rendered(
    distill_request: DistillRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C during rendering, the folder refuses another teacher and the run names its own command to resume."""
    request = replace(distill_request, out=Path("runs/mine"), command="edgekd distill --teacher mine --out {run}")
    monkeypatch.setattr("edgekd.steps.training.open_images", interrupted)
    with pytest.raises(KeyboardInterrupt):
        distill_run(request, Quiet())
    run = Run.open(Path("runs/mine"))
    assert run.unfinished() == ["distill"]
    with pytest.raises(RunError, match=r"Resume: edgekd distill --teacher mine --out runs/mine$"):
        run.verify(run.folder / "onnx" / "student.onnx")
    with pytest.raises(RunError, match="begun with other settings"):
        distill_run(replace(request, teacher="rooms"), Quiet())
    assert Run.open(Path("runs/mine")).manifest.teacher == run.manifest.teacher


def test_a_run_that_was_moved_together_with_its_pictures_is_up_to_date(
    distill_request: DistillRequest, images: ImagesSpec
) -> None:
    Path("pictures").mkdir()
    for number, image in enumerate(SimulatedSet.open(images.folder)):
        Image.fromarray(image.rgb).save(f"pictures/{number}.png")
    settings = replace(SETTINGS, steps=2, transform=None, mixing=None)
    request = replace(distill_request, images=ImagesSpec(folder=Path("pictures")), settings=settings)
    distill_run(replace(request, out=Path("runs/mine")), Quiet())
    Path("elsewhere").mkdir()
    for folder in ("runs", "pictures"):
        Path(folder).rename(Path("elsewhere") / folder)
    moved = replace(request, images=ImagesSpec(folder=Path("elsewhere/pictures")), out=Path("elsewhere/runs/mine"))
    distill_run(moved, notes := Notes())
    assert any("The student is up to date" in line for line in notes.said)
    Path("elsewhere/pictures/0.png").unlink()
    with pytest.raises(RunError, match=r"begun with other settings: images\.pictures \w+ instead of \w+"):
        distill_run(moved, Quiet())


def test_a_run_that_was_started_anew_and_interrupted_does_not_pass_the_earlier_student_off_as_its_own(
    distill_request: DistillRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(
        distill_request, settings=replace(SETTINGS, steps=2, transform=None, mixing=None), out=Path("runs/mine")
    )
    distill_run(request, Quiet())
    other = replace(request, settings=replace(request.settings, steps=3), force=True)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("edgekd.steps.distill.distill", interrupted)
        distill_run(other, Quiet())
    run = Run.open(Path("runs/mine"))
    for use in (run_model, calibration_set, read_references):
        with pytest.raises(RunError, match=r"The step distill is unfinished\. Resume: edgekd distill"):
            use(run)
    distill_run(replace(other, force=False), Quiet()).verify()


def test_a_finished_run_that_lost_a_file_says_why_it_trains_again(distill_request: DistillRequest) -> None:
    request = replace(
        distill_request, settings=replace(SETTINGS, steps=2, transform=None, mixing=None), out=Path("runs/mine")
    )
    student = (distill_run(request, Quiet()).folder / "student.safetensors").read_bytes()
    (preview,) = Path("runs/mine/previews").iterdir()
    preview.unlink()
    notes = Notes()
    assert (distill_run(request, notes).folder / "student.safetensors").read_bytes() == student
    assert len([line for line in notes.said if f"{preview} is missing: edgekd distill starts over" in line]) == 1
    distill_run(request, notes := Notes())
    assert not any("starts over" in line for line in notes.said if "--force" not in line)


def test_a_run_that_was_started_anew_and_interrupted_ends_without_files_of_the_earlier_settings(
    distill_request: DistillRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(distill_request, settings=replace(SETTINGS, steps=2), out=Path("runs/mine"))
    distill_run(request, Quiet())
    other = replace(request, settings=replace(request.settings, transform=None), force=True)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("edgekd.steps.distill.distill", interrupted)
        distill_run(other, Quiet())
    folder = distill_run(replace(other, force=False), Quiet()).folder
    assert not (folder / "transform.safetensors").exists() and not (folder / "adaptation.json").exists()


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


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


def test_a_cache_that_cannot_be_written_to_is_named_before_anything_else(distill_request: DistillRequest) -> None:
    Path("a file").touch()
    with pytest.MonkeyPatch.context() as patched, pytest.raises(FileError, match="EDGEKD_CACHE"):
        patched.setenv("EDGEKD_CACHE", "a file/cache")
        patched.setattr("edgekd.steps.distill.require_exportable", interrupted)  # takes half a minute
        distill_run(replace(distill_request, images=ImagesSpec(count=48, seed=9)), Quiet())
    assert not Path("runs").exists()


def test_other_settings_are_refused_by_name_and_force_starts_anew(distill_request: DistillRequest) -> None:
    request = replace(distill_request, settings=replace(SETTINGS, steps=2, transform=None, mixing=None))
    run = distill_run(request, Quiet())
    assert run.folder == Path("runs/with-mobile-s")
    assert not (run.folder / "transform.safetensors").exists()
    other = replace(request, settings=replace(request.settings, steps=3))
    with pytest.raises(RunError, match=r"settings\.steps 2 instead of 3.*--force"):
        distill_run(other, Quiet())
    run.verify()
    distill_run(replace(other, force=True), Quiet()).verify()
    assert len((run.folder / "metrics.jsonl").read_text().splitlines()) == 3
    transformed = replace(other, settings=replace(SETTINGS, steps=2), force=True)
    distill_run(transformed, Quiet()).verify()
    assert (run.folder / "transform.safetensors").exists() and (run.folder / "adaptation.json").exists()
    distill_run(replace(other, force=True), Quiet()).verify()
    assert not (run.folder / "transform.safetensors").exists() and not (run.folder / "adaptation.json").exists()
    with pytest.raises(RunError, match="is a run of edgekd distill"):
        calibrate_run(
            CalibrateRequest(TEACHER, images=distill_request.images, settings=SETTINGS, out=run.folder), Quiet()
        )


def test_statistics_that_are_left_out_the_second_time_are_missed(
    distill_request: DistillRequest, tmp_path: Path
) -> None:
    """With its own layers' statistics, the teacher would continue from a transformation fitted to the file."""
    given = with_statistics()
    mean, variance = torch.full((8,), 50.0), torch.ones(8)  # far from what its layer sees, and from what it stored
    stored = StoredStatistics.of({"body.1": (mean, variance)})
    file = tmp_path / "statistics.safetensors"
    StatisticsFile(given.name, given.digest, 20, stored).write(file)
    request = replace(distill_request, statistics=file, out=Path("runs/mine"))
    with pytest.raises(KeyboardInterrupt):
        distill_run(request, InterruptAfter(4, "Distilling"))
    for _ in range(2):
        with pytest.raises(RunError, match="statistics given instead of omitted"):
            distill_run(replace(request, statistics=None), Quiet())
        distill_run(request, Quiet()).verify()
    steps = [json.loads(line) for line in Path("runs/mine/metrics.jsonl").read_text().splitlines()]
    assert all(step["statistics"] > 1000 for step in steps if "statistics" in step)
    assert json.loads(Path("runs/mine/adaptation.json").read_text())["simulated"][0] > 1000


def test_a_teacher_corrected_in_its_code_is_another_one(
    distill_request: DistillRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights and so its digest stay the same; its depth and its input description show the change."""
    request = replace(distill_request, settings=replace(SETTINGS, steps=1, transform=None, mixing=None))
    distill_run(request, Quiet())
    distill_run(request, Quiet())
    forward = _Net.forward
    monkeypatch.setattr(_Net, "forward", lambda self, x: 1e3 * forward(self, x))
    with pytest.raises(RunError, match=r"teacher\.median depth \d.* instead of \d.*e\+0"):
        distill_run(request, Quiet())


def test_torchrun_makes_a_whole_run_that_one_process_tells_of(tmp_path: Path) -> None:
    """As in the README, with the precision that `auto` chooses on a GPU."""
    rooms = RoomSettings(height=HEIGHT, width=WIDTH, views_per_room=140)
    write_set(tmp_path / "set", rooms, seed=0, count=140, workers=1, keep_depth=False, progress=Quiet())
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    command = (
        f"{Path(sys.executable).with_name('edgekd')} distill --teacher {TEACHER} --student mobile-s --images set"
        " --batch 4 --steps 2 --precision bfloat16 --device cpu --out two --json"
    )
    here = Path(__file__).parent  # holds the teacher's module, which imports notes.py from two folders above
    ended = subprocess.run(
        [*torchrun, *command.split()],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{here}{os.pathsep}{here.parents[1]}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert json.loads(ended.stdout)["run"] == "two"  # one document: the other process is silent
    Run.open(tmp_path / "two").verify()
    assert (tmp_path / "two/onnx/student.onnx").exists()


def test_names_are_checked_before_a_folder_is_made(distill_request: DistillRequest) -> None:
    with pytest.raises(UnknownNameError, match="mobile-s"):
        distill_run(replace(distill_request, student="mobil-s"), Quiet())
    assert not Path("runs").exists()


@pytest.mark.skipif(
    "dynamic_shapes" not in inspect.signature(torch.onnx.export).parameters,
    reason="the exporter of this torch traces, and takes whichever way the example went",
)
def test_what_cannot_be_exported_is_told_before_anything_is_trained(distill_request: DistillRequest) -> None:
    spec = "test_step_distill:that_decides"
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
    spec = "test_step_distill:without_half_precision"
    half = replace(distill_request.settings, precision="bfloat16")
    for anew in (
        replace(distill_request, teacher=spec, settings=half, force=True),
        replace(distill_request, teacher="test_step_distill:that_decides", student="slim-s", force=True),
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
    folded = replace(distill_request, teacher="test_step_distill:without_statistics")
    with pytest.raises(ModelError, match=r"was folded on export.*--no-transformation"):
        distill_run(folded, Quiet())
    assert not Path("runs").exists()


@pytest.mark.parametrize("statistics", [True, False])
def test_a_teacher_is_calibrated_without_a_student(distill_request: DistillRequest, statistics: bool) -> None:
    spec = TEACHER if statistics else "test_step_distill:without_statistics"
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
