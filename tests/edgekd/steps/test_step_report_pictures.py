"""Curves, charts and pictures of a report: those of the newest bench, and the worst frame first."""

from __future__ import annotations

import io
import json
import re
import shutil
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from report_pages import plain_bench

from calibration.progress import Quiet
from edgekd.bench import BenchResult
from edgekd.bench.gallery import Gallery
from edgekd.bench.grade import Grade
from edgekd.run import Run
from edgekd.steps.report import report_runs


def test_curves_end_where_the_training_ended_and_show_no_clock(benched: Path) -> None:
    lines = [{"step": step, "loss": 1 / (step + 1), "seconds": 0.1} for step in range(50)]
    lines.append({"step": 50, "loss": float("nan"), "seconds": 0.1})
    (benched / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shutil.copy(benched / "previews" / "000050.png", benched / "previews" / "000010.png")
    _, (html, _, _) = report_runs([Run.open(benched)], None, Quiet())
    captions = re.findall(r"<figcaption>([^<]*)</figcaption>", html.read_text())
    assert "loss: 0.02 at step 49" in captions and not any("seconds" in caption for caption in captions)
    assert "After step 50" in captions and "After step 10" not in captions


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


def test_the_worst_frame_is_named_first_and_shown(benched: Path) -> None:
    _, (html, *_) = report_runs([Run.open(benched)], None, Quiet())
    text = html.read_text()
    section = text[text.index("<h2>The worst frames") : text.index("<h2>Drift from fp32")]
    assert section.count("data:image/jpeg") >= 4
    assert re.search(r"<tbody><tr><th scope=\"row\">4</th>", section)
