"""Distilling into a run that is there: resumed, up to date, refused because of other settings, or started over."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from interrupting import InterruptAfter
from notes import Notes
from short_distillations import SETTINGS, interrupted

torch = pytest.importorskip("torch", reason="distilling needs torch")
pytest.importorskip("onnxscript", reason="exporting from torch needs onnxscript")
pytest.importorskip("embreex", reason="simulating rooms needs embreex")

from odd_teachers import TEACHER, Net, with_statistics  # noqa: E402
from PIL import Image  # noqa: E402

from calibration.errors import RunError  # noqa: E402
from calibration.progress import Quiet  # noqa: E402
from edgekd.distill.statistics import StoredStatistics  # noqa: E402
from edgekd.distill.statistics_file import StatisticsFile  # noqa: E402
from edgekd.run import Run  # noqa: E402
from edgekd.simulate.store import SimulatedSet  # noqa: E402
from edgekd.steps.artefacts import calibration_set, run_model  # noqa: E402
from edgekd.steps.calibrate import CalibrateRequest, calibrate_run  # noqa: E402
from edgekd.steps.check import read_references  # noqa: E402
from edgekd.steps.distill import DistillRequest, distill_run  # noqa: E402
from edgekd.steps.images import ImagesSpec  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


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
    forward = Net.forward
    monkeypatch.setattr(Net, "forward", lambda self, x: 1e3 * forward(self, x))
    with pytest.raises(RunError, match=r"teacher\.median depth \d.* instead of \d.*e\+0"):
        distill_run(request, Quiet())
