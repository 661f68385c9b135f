"""What a report says of figures that are missing, damaged, without a unit or of another student."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from report_pages import Parsed
from small_network import pictures, save, small_network

from calibration.images import CalibrationSet
from calibration.progress import Quiet
from edgekd.bench import BenchResult
from edgekd.run import Run, TeacherRecord
from edgekd.steps.report import report_runs


def test_depth_of_no_known_unit_is_told_first(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "runs" / "unit", TeacherRecord("midas", "midas", "0" * 64, "a file", metric=False))
    _, (html, markdown, _) = report_runs([run], None, Quiet())
    said = "The depth of midas has no known unit, though labelled metres: only ratios are meaningful."
    assert said in Parsed(html.read_text()).text and said in markdown.read_text()


def test_what_was_built_from_another_student_since_is_told(benched: Path) -> None:
    story, _ = report_runs([Run.open(benched)], None, Quiet())
    assert not any("rebuilt" in line for line in story.runs[0].missing)
    for path in (benched / "bench").glob("*.json"):
        result = BenchResult.read(path)
        first, *others = result.rows
        replace(result, rows=(replace(first, student="0" * 64), *others)).write(path)
    _, (html, markdown, _) = report_runs([Run.open(benched)], None, Quiet())
    said = f"{first.name} was rebuilt since it was measured, so its figures are of an older one: edgekd bench"
    assert said in Parsed(html.read_text()).text and markdown.read_text().count("rebuilt") == 1


def test_figures_of_a_student_that_the_run_no_longer_holds_are_told(benched: Path) -> None:
    """Nor is its teacher's depth shown beside pictures of an earlier calibration set."""
    run = Run.open(benched)
    _, (html, _, _) = report_runs([run], None, Quiet())
    assert "another student" not in html.read_text() and "<figcaption>teacher" in html.read_text()
    with run.lock(), run.step("distill", inputs={}, asked={}, command="edgekd distill") as made:
        made.add(save(small_network(offset=0.9), benched / "onnx" / "student.onnx"))
    with run.lock(), run.step("calibration", inputs={}, asked={}, command="edgekd distill") as made:
        CalibrationSet.write(benched / "calibration", pictures(24, seed=99), origin="others", made_from={})
        made.add(benched / "calibration")
    _, (html, _, _) = report_runs([Run.open(benched)], None, Quiet())
    text = Parsed(html.read_text()).text
    assert text.count("are of another student or calibration set than the run now holds") == 2
    assert "edgekd export runs/small --target onnxruntime --precision int8 && edgekd bench runs/small" in text
    assert "<figcaption>teacher" not in html.read_text()


def test_what_is_missing_or_damaged_is_said(benched: Path) -> None:
    shutil.rmtree(benched / "previews")
    (benched / "metrics.jsonl").unlink()
    for path in (benched / "bench").glob("*.npz"):
        path.write_bytes(b"broken")
    (scored,) = (benched / "bench").glob("*-plain-*.json")
    scored.write_text('{"schema": 1}')
    story, (html, markdown, _) = report_runs([Run.open(benched)], None, Quiet())
    text = Parsed(html.read_text()).text
    assert "no previews" in markdown.read_text().partition("## Missing")[2]
    assert "schema 1; this version of edgekd reads 2" in text
    assert "no previews" in text and "no training log" in text and "Nothing was scored" in text
    assert len(story.entries) == 2  # those of the undamaged bench


def test_a_run_that_was_never_measured_has_a_report(run_folder: Path) -> None:
    _, (html, *_) = report_runs([Run.open(run_folder)], None, Quiet())
    assert "was not measured: edgekd bench runs/small" in Parsed(html.read_text()).text
    run_folder.rename("my run")
    story, _ = report_runs([Run.open(Path("my run"))], None, Quiet())
    assert "my run was not measured: edgekd bench 'my run'" in story.runs[0].missing
