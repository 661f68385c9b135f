"""The figures of a report: those of the newest bench, under their own headings, ranked only where they compare."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from report_pages import Parsed, plain_bench, rows_of

from calibration.progress import Quiet
from edgekd.bench import BenchResult
from edgekd.bench.cold import Cold
from edgekd.bench.flicker import Flicker
from edgekd.bench.grade import Grade
from edgekd.bench.latency import Measured
from edgekd.run import Run
from edgekd.steps.report import report_runs


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


def test_coverage_that_another_verb_measured_is_shown_as_it_is(benched: Path) -> None:
    value = {"saturated": 0.0125, "layers": [{"name": "conv_<1>", "inside": 0.98}, {"name": "conv_2", "inside": 0.5}]}
    (benched / "calibration" / "coverage.json").write_text(json.dumps(value))
    _, (html, *_) = report_runs([Run.open(benched)], None, Quiet())
    text = Parsed(html.read_text()).text
    assert "calibration/coverage.json" in text and "conv_<1>" in text and "0.0125" in text
