"""The report of a run: self-contained, honest about what is missing, safe with hostile names."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import shutil
import subprocess
from base64 import b64decode
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_network import pictures, save, small_network

from calibration.errors import UsageError
from calibration.images import CalibrationSet
from calibration.progress import Quiet
from edgekd.bench import BenchResult, BenchSettings, Scoring
from edgekd.bench.cold import Cold
from edgekd.bench.flicker import Flicker
from edgekd.bench.gallery import Gallery
from edgekd.bench.grade import Grade
from edgekd.bench.latency import Measured
from edgekd.cli.app import run as command
from edgekd.evaluate import get_protocol, open_dataset
from edgekd.run import Run, TeacherRecord
from edgekd.steps.bench import bench_run
from edgekd.steps.report import report_runs

QUICK = BenchSettings(minimum=50, seconds=0, cold=False)
HOSTILE = "=cmd|' !<script>alert(1)</script> `[x](y)"


class Parsed(HTMLParser):
    """Tags, visible text, links and loads of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="session")
def benched_once(exported_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one bench without data and one with six frames, one of them twice as far as the network says."""
    from small_network import SPEC, pictures, reference_depth, small_network

    root = tmp_path_factory.mktemp("benched")
    shutil.copytree(exported_once, root / "small")
    for part in ("rgb", "depth"):
        (root / "data" / part).mkdir(parents=True)
    for number, picture in enumerate(pictures(6, seed=9)):
        Image.fromarray(picture).save(root / "data" / "rgb" / f"{number}.png")
        truth = reference_depth(small_network(), SPEC.framing.image(picture)[None])[0]
        np.save(root / "data" / "depth" / f"{number}.npy", truth * (2 if number == 4 else 1))
    run = Run.open(root / "small")
    bench_run(run, (), QUICK, Quiet())
    scoring = Scoring(open_dataset(str(root / "data")), get_protocol("plain"), "data")
    bench_run(run, (), QUICK, Quiet(), scoring=scoring)
    lines = [{"step": step, "loss": 1 / (step + 1), "seconds": 0.1} for step in range(50)]
    (root / "small" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 5')
    (root / "small" / "previews").mkdir()
    Image.fromarray(pictures(1, 2)[0]).save(root / "small" / "previews" / "000050.png")
    return root / "small"


@pytest.fixture
def benched(benched_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(benched_once, tmp_path / "runs" / "small")
    monkeypatch.chdir(tmp_path)
    return Path("runs/small")


def plain_bench(run: Path) -> tuple[Path, BenchResult]:
    """The bench that scored under the protocol `plain`."""
    (path,) = (run / "bench").glob("*-plain-*.json")
    return path, BenchResult.read(path)


def rows_of(page: str, section: str) -> list[dict[str, str]]:
    """The first table of a section: the text of each cell by its heading."""
    part = page[page.index(f"<h2>{section}") :]
    part = part[: part.index("</table>")]

    def text(cell: str) -> str:
        return unescape(re.sub(r"<[^>]*>", "", cell))

    headings = [text(cell) for cell in re.findall(r'<th scope="col">(.*?)</th>', part)]
    rows = re.findall(r'<tr><th scope="row">(.*?)</tr>', part)
    return [dict(zip(headings, map(text, re.split(r"</t[hd]>", row)), strict=False)) for row in rows]


def test_everything_is_in_one_file_and_nothing_comes_from_elsewhere(benched: Path) -> None:
    _, (html, markdown, table) = report_runs([Run.open(benched)], None, Quiet())
    assert (html, markdown, table) == tuple(benched / f"report.{suffix}" for suffix in ("html", "md", "csv"))
    page = Parsed(html.read_text())
    assert all(load.startswith(("data:image/jpeg;base64,", "#")) for load in page.loads)
    assert "script" not in page.tags and "link" not in page.tags and "iframe" not in page.tags
    for heading in ("Runs and machines", "In short", "Accuracy", "The worst frames", "Drift from fp32", "Training",
                    "Calibration coverage", "Conditions and grades", "How to reproduce"):  # fmt: skip
        assert heading in page.text
    for word in ("onnxruntime-fp32", "onnxruntime-int8", "plain", "edgekd bench runs/small --reproduce", "loss"):
        assert word in page.text
    assert html.stat().st_size < 1_500_000


def test_figures_are_those_of_the_bench_in_all_three(benched: Path) -> None:
    story, (html, markdown, table) = report_runs([Run.open(benched)], None, Quiet())
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [row["artefact"] for row in rows] == ["onnxruntime-fp32", "onnxruntime-int8"]
    for row, entry in zip(rows, story.entries, strict=True):
        assert entry.row.latency is not None
        assert float(row["p50_ms"]) == pytest.approx(entry.row.latency.p50, rel=1e-5)
        (score,) = entry.scores
        assert float(row["absrel"]) == pytest.approx(score.means["raw"]["absrel"], rel=1e-5)
        assert row["grade"] == entry.row.latency.infer.grade.letter
        assert f"{score.means['raw']['delta1']:.3f}" in markdown.read_text()
        assert f"{entry.row.latency.p50:.2f}" in html.read_text()


def test_latency_is_that_of_the_newest_bench_and_accuracy_of_each_data_set(benched: Path) -> None:
    (older,) = [path for path in (benched / "bench").glob("*.json") if "-plain-" not in path.name]
    result = BenchResult.read(older)
    marked = []
    for row in result.rows:
        assert row.latency is not None
        timing = replace(row.latency.infer.timing, p50=123.456)
        marked.append(replace(row, latency=replace(row.latency, infer=replace(row.latency.infer, timing=timing))))
    replace(result, rows=tuple(marked), created="2020-01-01T00:00:00+00:00").write(older)
    story, _ = report_runs([Run.open(benched)], None, Quiet())
    assert all(entry.row.latency is not None and entry.row.latency.p50 != 123.456 for entry in story.entries)
    assert [len(entry.scores) for entry in story.entries] == [1, 1]
    replace(result, rows=tuple(marked), created="2999-01-01T00:00:00+00:00").write(older)
    story, _ = report_runs([Run.open(benched)], None, Quiet())
    assert all(entry.row.latency is not None and entry.row.latency.p50 == 123.456 for entry in story.entries)
    assert [len(entry.scores) for entry in story.entries] == [1, 1]


def test_a_power_mode_is_a_machine_of_its_own(benched: Path) -> None:
    path, result = plain_bench(benched)
    slow = replace(result.machine, power_mode="15W")
    replace(result, machine=slow, created="2999-01-01T00:00:00+00:00").write(path.with_name("later.json"))
    story, (html, _, _) = report_runs([Run.open(benched)], None, Quiet())
    devices = [entry.device for entry in story.entries]
    assert len(devices) == 4 and devices == sorted(devices) and len({*devices}) == 2 and devices[-1].endswith(", 15W")
    assert "Last measured 2999-01-01" in html.read_text()


def test_a_rebuilt_artefact_replaces_the_old_one_and_one_that_could_not_run_keeps_its_latency(benched: Path) -> None:
    path, result = plain_bench(benched)
    first, second = result.rows
    rows = (replace(first, model="f" * 64), replace(second, latency=None, reason="The device is busy"))
    replace(result, rows=rows, created="2999-01-01T00:00:00+00:00").write(path.with_name("later.json"))
    story, _ = report_runs([Run.open(benched)], None, Quiet())
    assert [entry.row.name for entry in story.entries] == [first.name, second.name]
    assert story.entries[0].row.model == "f" * 64 and story.entries[1].measured


def test_curves_end_where_the_training_ended_and_show_no_clock(benched: Path) -> None:
    lines = [{"step": step, "loss": 1 / (step + 1), "seconds": 0.1} for step in range(50)]
    lines.append({"step": 50, "loss": float("nan"), "seconds": 0.1})
    (benched / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shutil.copy(benched / "previews" / "000050.png", benched / "previews" / "000010.png")
    _, (html, _, _) = report_runs([Run.open(benched)], None, Quiet())
    captions = re.findall(r"<figcaption>([^<]*)</figcaption>", html.read_text())
    assert "loss: 0.02 at step 49" in captions and not any("seconds" in caption for caption in captions)
    assert "After step 50" in captions and "After step 10" not in captions


def test_drift_conditions_and_reasons_are_those_of_the_bench(benched: Path) -> None:
    path, result = plain_bench(benched)
    first, second = result.rows
    assert first.latency is not None
    names = ("abs_rel", "abs_rel_aligned", "within_5", "within_1", "scale_ratio", "rank_correlation", "abs_rel_edges")
    drift = {name: number / 10 for number, name in enumerate(names, start=1)}
    conditions = replace(
        first.latency.infer.conditions,
        clock_early_mhz=2000.0, clock_late_mhz=1500.0, temperature=71.0, hottest="CPU", others=0.25, watts={"VDD": 9.0},
    )  # fmt: skip
    infer = replace(first.latency.infer, conditions=conditions, grade=Grade("B", ("a jump of 7 %",), ("power",)))
    cold = Cold(3, 61.0, 62.0, 63.0, 64.0, Grade("C", ("three starts differ",), ()))
    rows = (
        replace(first, drift=drift, latency=replace(first.latency, infer=infer), cold=cold),
        replace(second, latency=None, throughput=None, drift={}, reason="No device", fix="edgekd doctor"),
    )
    settings = {**result.settings, "threads": 2, "batch": 3, "device": "GPU"}
    replace(result, rows=rows, settings=settings, created="2999-01-01T00:00:00+00:00").write(path)
    for other in {*(benched / "bench").glob("*.json")} - {path}:
        other.unlink()
    _, (html, markdown, _) = report_runs([Run.open(benched)], None, Quiet())
    page, written = html.read_text(), markdown.read_text().replace("\\", "")
    (found,) = rows_of(page, "Drift from fp32")
    headings = ("AbsRel ↓", "aligned ↓", "<5 % ↑", "<1 % ↑", "scale →1", "rank ↑", "edges ↓")
    assert [float(found[heading]) for heading in headings] == [*drift.values()]
    latency, *_, start = rows_of(page, "Conditions and grades")
    assert list(latency.values()) == [
        "onnxruntime-fp32 latency", "B", "a jump of 7 %", "2000 to 1500", "71 °C (CPU)", "0.25", "VDD 9.0", "power",
    ]  # fmt: skip
    assert (start["figure"], start["grade"]) == ("onnxruntime-fp32 cold start", "C")
    assert "onnxruntime-int8: No device. edgekd doctor" in Parsed(page).text
    assert "small onnxruntime-int8: No device" in written and "onnxruntime-fp32 on " in written
    assert " | 2 | 3 | GPU | " in written


def test_the_watts_of_the_machine_alone_are_those_of_the_newest_bench(benched: Path) -> None:
    for path in (benched / "bench").glob("*.json"):
        newest = "-plain-" in path.name
        created = f"{2999 if newest else 2020}-01-01T00:00:00+00:00"
        replace(BenchResult.read(path), idle_watts={"VDD": 7.0 if newest else 3.0}, created=created).write(path)
    _, (html, _, _) = report_runs([Run.open(benched)], None, Quiet())
    assert "before the first artefact: VDD 7.0 W" in html.read_text()


def test_the_charts_show_unaligned_error_and_name_the_front(benched: Path) -> None:
    path, result = plain_bench(benched)
    rows = []
    for row, p50, absrel in zip(result.rows, (8.0, 4.0), (0.25, 0.125), strict=True):
        assert row.latency is not None and row.evaluation is not None
        timing = replace(row.latency.infer.timing, p50=p50)
        infer = replace(row.latency.infer, timing=timing, grade=Grade("A", (), ()))
        means = {
            alignment: {**by, "absrel": absrel if alignment == "raw" else 0.9}
            for alignment, by in row.evaluation.means.items()
        }
        evaluation = replace(row.evaluation, means=means)
        rows.append(replace(row, latency=replace(row.latency, infer=infer), evaluation=evaluation))
    replace(result, rows=tuple(rows), created="2999-01-01T00:00:00+00:00").write(path)
    _, (html, _, _) = report_runs([Run.open(benched)], None, Quiet())
    page = html.read_text()
    assert "<title>onnxruntime-fp32: 8, 0.25 (" in page and "<title>onnxruntime-int8: 4, 0.125 (" in page
    assert "By latency: onnxruntime-int8. " in page


def test_panels_are_of_the_newest_bench_on_one_scale_with_differences_from_what_they_name(benched: Path) -> None:
    path, result = plain_bench(benched)
    gallery = Gallery.read(path.with_suffix(".npz"))
    assert gallery.held_out is not None
    near = gallery.held_out.depth["onnxruntime-fp32"]
    shown = replace(gallery.held_out, depth={"onnxruntime-fp32": near, "onnxruntime-int8": 5 * near})
    later = path.with_name("later.json")
    replace(result, created="2999-01-01T00:00:00+00:00").write(later)
    replace(gallery, held_out=shown).write(later.with_suffix(".npz"))
    _, (html, _, _) = report_runs([Run.open(benched)], None, Quiet())
    page = html.read_text()
    depth = page[page.index("<h2>Depth<") : page.index("<h2>The worst frames")]
    worst = page[page.index("<h2>The worst frames") : page.index("<h2>Drift from fp32")]
    (high,) = re.findall(r"\(light\) to ([\d.]+) m \(dark\)", depth)
    assert float(high) > 4 * np.median(near)
    data = re.findall(r'base64,([^"]*)"[^>]*><figcaption>onnxruntime-int8 - fp32</figcaption>', depth)
    red, green, blue = np.asarray(Image.open(io.BytesIO(b64decode(data[0])))).reshape(-1, 3).mean(0)
    assert 70 < red < 130 and green < 40 and blue < 60  # dark red: far more than the limit
    assert "onnxruntime-int8 - truth" in worst and "frames with onnxruntime-int8, unaligned" in worst


def test_depth_of_no_known_unit_is_told_first(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "runs" / "unit", TeacherRecord("midas", "midas", "0" * 64, "a file", metric=False))
    _, (html, markdown, _) = report_runs([run], None, Quiet())
    said = "The depth of midas has no known unit, though labelled metres: only ratios are meaningful."
    assert said in Parsed(html.read_text()).text and said in markdown.read_text()


def test_every_column_holds_the_figure_that_it_is_named_after(benched: Path) -> None:
    (newest,) = [path for path in (benched / "bench").glob("*.json") if "-plain-" in path.name]
    result = BenchResult.read(newest)
    row = result.rows[0]
    assert row.latency is not None and row.throughput is not None and row.evaluation is not None

    def marked(measured: Measured, base: float) -> Measured:
        figures = {"least": 1, "p50": 2, "mean": 3, "p90": 4, "p99_low": 5, "p99": 6, "p99_high": 7, "cpu": 8}
        return replace(measured, timing=replace(measured.timing, **{name: base + f for name, f in figures.items()}))

    latency = replace(
        row.latency,
        **{name: marked(row.latency.infer, base) for base, name in ((10, "infer"), (20, "resident"), (30, "framed"))},
    )
    throughput = replace(row.throughput, streams=3, pictures_per_second=40.0, measured=marked(row.latency.infer, 50))
    numbers = itertools.count(1)
    means, pixels = (
        {alignment: {metric: next(numbers) / 100 for metric in by} for alignment, by in row.evaluation.means.items()}
        for _ in range(2)
    )
    evaluation = replace(row.evaluation, means=means, pixel_means=pixels)
    cold = Cold(3, 61.0, 62.0, 63.0, 64.0, Grade("A", (), ()))
    intervals = {name: {"absrel": (0.71, 0.72), "delta1": (0.73, 0.74)} for name in row.evaluation.intervals}
    evaluation = replace(evaluation, intervals=intervals)
    joules = 0.068 * latency.infer.timing.samples * latency.batch
    conditions = replace(latency.infer.conditions, joules=joules, energy_from="VDD_IN")
    latency = replace(latency, infer=replace(latency.infer, conditions=conditions))
    replace(
        result,
        rows=(
            replace(
                row,
                size=65_000_000,
                latency=latency,
                throughput=throughput,
                cold=cold,
                drift={"within_1": 0.66},
                flicker=Flicker(48, 0.02, 0.0067),
                evaluation=evaluation,
            ),
        ),
        created="2999-01-01T00:00:00+00:00",
    ).write(newest)
    _, (html, _, table) = report_runs([Run.open(benched)], None, Quiet())
    assert '<small title="95 % interval of p99"> 15.00-17.00</small>' in html.read_text()
    read = {row["artefact"]: row for row in csv.DictReader(io.StringIO(table.read_text()))}[row.name]
    expected = {
        "size_mb": 65, "least_ms": 11, "p50_ms": 12, "p90_ms": 14, "p99_low_ms": 15, "p99_ms": 16, "p99_high_ms": 17,
        "cpu_ms": 18, "no_copies_ms": 22, "framed_ms": 32, "pictures_per_s": 40, "streams": 3, "load_ms": 61,
        "first_ms": 62, "peak_mib": 64, "drift_within_1": 0.66, "millijoules": 68, "flicker_added_percent": 0.67,
        "absrel_low": 0.71, "absrel_high": 0.72, "delta1_low": 0.73, "delta1_high": 0.74,
    }  # fmt: skip
    assert {name: float(read[name]) for name in expected} == expected
    accuracy = {
        "absrel": means["raw"]["absrel"], "delta1": means["raw"]["delta1"], "rmse_m": means["raw"]["rmse"],
        "scale": means["raw"]["scale"], "absrel_median": means["median"]["absrel"],
        "delta1_median": means["median"]["delta1"], "absrel_scale_shift": means["scale-shift"]["absrel"],
        "delta1_scale_shift": means["scale-shift"]["delta1"], "absrel_pixels": pixels["raw"]["absrel"],
        "delta1_pixels": pixels["raw"]["delta1"],
    }  # fmt: skip
    assert {name: float(read[name]) for name in accuracy} == pytest.approx(accuracy, rel=1e-4)


def test_the_best_of_a_column_is_bold_and_a_disturbed_figure_is_not_compared(benched: Path) -> None:
    (newest,) = [path for path in (benched / "bench").glob("*.json") if "-plain-" in path.name]
    result = BenchResult.read(newest)
    for other in {*(benched / "bench").glob("*.json")} - {newest}:
        other.unlink()  # its figures, of whatever grade they are on this machine, would be compared too
    rows = []
    for row, p50, rate, letter in zip(
        (result.rows[0], *result.rows), (1.11, 2.22, 3.33), (55.0, 22.0, 33.0), "CAB", strict=False
    ):
        assert row.latency is not None and row.throughput is not None
        timing, grade = replace(row.latency.infer.timing, p50=p50), Grade(letter, ("busy",), ())  # type: ignore[arg-type]
        infer = replace(row.latency.infer, timing=timing, grade=grade)
        latency = replace(row.latency, infer=infer)
        measured = replace(row.throughput.measured, grade=grade)
        throughput = replace(row.throughput, pictures_per_second=rate, measured=measured)
        rows.append(replace(row, name=f"{row.name} {letter}", latency=latency, throughput=throughput))
    replace(result, rows=tuple(rows), created="2999-01-01T00:00:00+00:00").write(newest)
    _, (html, _, _) = report_runs([Run.open(benched)], None, Quiet())
    bold = re.findall(r"<b>([\d.]+)</b>", html.read_text())
    assert [figure for figure in bold if figure in ("1.11", "2.22", "3.33", "55", "22", "33")] == ["2.22", "33"]


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


def test_networks_that_were_scored_on_different_pixels_are_not_ranked(benched: Path) -> None:
    accuracy = r"<caption>Protocol plain.*?</table>"
    _, (html, _, _) = report_runs([Run.open(benched)], None, Quiet())
    assert "<b>" in re.findall(accuracy, html.read_text(), re.DOTALL)[0]
    (path,) = (benched / "bench").glob("*-plain-*.json")
    result = BenchResult.read(path)
    first, *others = result.rows
    assert first.evaluation is not None
    fewer = replace(first.evaluation, pixels=first.evaluation.pixels // 2)
    replace(result, rows=(replace(first, evaluation=fewer), *others)).write(path)
    _, (html, _, _) = report_runs([Run.open(benched)], None, Quiet())
    assert "<b>" not in re.findall(accuracy, html.read_text(), re.DOTALL)[0]
    assert "must not be ranked" in html.read_text()


def test_the_worst_frames_that_were_kept_are_shown_after_a_bench_that_kept_none(benched: Path) -> None:
    run = Run.open(benched)
    _, (html, _, _) = report_runs([run], None, Quiet())
    before = html.read_text().count("data:image/jpeg")
    (path,) = (benched / "bench").glob("*-plain-*.json")
    later = path.with_name("later.json")
    replace(BenchResult.read(path), created="2999-01-01T00:00:00+00:00").write(later)
    kept = Gallery.read(path.with_suffix(".npz"))
    replace(kept, worst=None, note="not kept").write(later.with_suffix(".npz"))
    _, (html, _, _) = report_runs([run], None, Quiet())
    assert html.read_text().count("data:image/jpeg") == before


def test_two_protocols_never_share_a_table(benched: Path) -> None:
    (scored,) = (benched / "bench").glob("*-plain-*.json")
    result = BenchResult.read(scored)
    other = [
        replace(row, evaluation=replace(row.evaluation, protocol="scannet")) for row in result.rows if row.evaluation
    ]
    replace(result, rows=tuple(other)).write(scored.with_name("other-scannet-0.json"))
    _, (html, markdown, _) = report_runs([Run.open(benched)], None, Quiet())
    captions = re.findall(r"<caption>(Protocol [^<]*)</caption>", html.read_text())
    assert len(captions) == 2 and any("plain" in one for one in captions) and any("scannet" in one for one in captions)
    assert markdown.read_text().count("## Accuracy: ") == 2


def test_the_worst_frame_is_named_first_and_shown(benched: Path) -> None:
    _, (html, *_) = report_runs([Run.open(benched)], None, Quiet())
    text = html.read_text()
    section = text[text.index("<h2>The worst frames") : text.index("<h2>Drift from fp32")]
    assert section.count("data:image/jpeg") >= 4
    assert re.search(r"<tbody><tr><th scope=\"row\">4</th>", section)


def test_a_name_is_only_a_name(benched: Path) -> None:
    hostile = Path("runs") / HOSTILE.replace("/", "-")
    shutil.copytree(benched, hostile)
    (scored,) = (hostile / "bench").glob("*-plain-*.json")
    value = json.loads(scored.read_text())
    value["machine"]["device"] = HOSTILE
    value["machine"]["cpu"] = "a|b\n# c"
    for row in value["rows"]:
        row["evaluation"]["dataset"] = HOSTILE
        row["evaluation"]["rows"][0]["name"] = HOSTILE
    value["rows"][0]["reason"], value["rows"][1]["reason"] = "-1+cmd", "\t=1+1"
    scored.write_text(json.dumps(value))
    _, (html, markdown, table) = report_runs([Run.open(hostile)], None, Quiet())
    page = Parsed(html.read_text())
    assert "script" not in page.tags and "<script>alert(1)" in page.text  # shown as text
    for line in markdown.read_text().splitlines():
        assert not re.search(r"(?<!\\)<script|(?<!\\)\[x\]", line)
        assert not line.startswith("# c")
    cells = [cell for row in csv.reader(io.StringIO(table.read_text())) for cell in row]
    assert not any(cell.startswith(("=", "@", "+", "\t", "-1+")) for cell in cells)
    assert {"'-1+cmd", "'\t=1+1"} <= {*cells}


def test_what_a_killed_report_left_is_removed_and_what_another_writes_now_is_not(benched: Path) -> None:
    killed, another = benched / ".report.md.abcdefgh.part", benched / ".report.md.hgfedcba.part"
    for path in (killed, another):
        path.touch()
    os.utime(killed, (1e9, 1e9))
    report_runs([Run.open(benched)], None, Quiet())
    assert another.exists() and not killed.exists()


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


def test_runs_are_compared_side_by_side(benched: Path) -> None:
    shutil.copytree(benched, Path("runs/other"))
    story, (html, _, table) = report_runs([Run.open(benched), Run.open(Path("runs/other"))], Path("both"), Quiet())
    assert html == Path("both/report.html")
    assert {entry.run for entry in story.entries} == {"small", "other"}
    assert len(list(csv.DictReader(io.StringIO(table.read_text())))) == 4
    text = Parsed(html.read_text()).text
    assert "edgekd report: small, other" in text
    with pytest.raises(UsageError, match="--out"):
        report_runs([Run.open(benched), Run.open(Path("runs/other"))], None, Quiet())
    shutil.copytree(Path("runs/other"), Path("elsewhere/small"))
    story, _ = report_runs([Run.open(benched), Run.open(Path("elsewhere/small"))], Path("both"), Quiet())
    assert {entry.run for entry in story.entries} == {"runs/small", "elsewhere/small"}


def test_coverage_that_another_verb_measured_is_shown_as_it_is(benched: Path) -> None:
    value = {"saturated": 0.0125, "layers": [{"name": "conv_<1>", "inside": 0.98}, {"name": "conv_2", "inside": 0.5}]}
    (benched / "calibration" / "coverage.json").write_text(json.dumps(value))
    _, (html, *_) = report_runs([Run.open(benched)], None, Quiet())
    text = Parsed(html.read_text()).text
    assert "calibration/coverage.json" in text and "conv_<1>" in text and "0.0125" in text


def test_the_verb(benched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["report", "--json"]) == 0
    out, err = capsys.readouterr()
    value = json.loads(out)
    assert [Path(path).name for path in value["files"]] == ["report.html", "report.md", "report.csv"]
    assert "No run given: using the newest, runs/small" in err
    assert command(["report", "smal"]) == 2
    assert "Did you mean runs/small?" in capsys.readouterr().err


def test_a_browser_shows_it_on_a_phone_without_scrolling_sideways(benched: Path, tmp_path: Path) -> None:
    browser = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if browser is None:
        pytest.skip("no Chromium is installed here")
    _, (html, *_) = report_runs([Run.open(benched)], None, Quiet())
    # The page's own policy forbids scripts, so a copy without it measures itself.
    text = re.sub(
        r'<meta content="default-src[^>]*>|<meta http-equiv="Content-Security-Policy"[^>]*>', "", html.read_text()
    )
    script = "<script>document.title = document.documentElement.scrollWidth + ' ' + innerWidth</script></body>"
    (tmp_path / "copy.html").write_text(text.replace("</body>", script))
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
         "--window-size=500,900", "--dump-dom", (tmp_path / "copy.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    found = re.search(r"<title>(\d+) (\d+)</title>", done.stdout)
    assert found is not None, done.stderr[-500:]
    assert int(found[1]) <= int(found[2])
