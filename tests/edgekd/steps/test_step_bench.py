"""A bench of a run: what it keeps, and the accuracy of the same files."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from calibration.errors import DataError, UsageError
from calibration.progress import Advance, Quiet
from edgekd.bench import BenchResult, BenchSettings, Scoring
from edgekd.bench.gallery import Gallery
from edgekd.bench.reproduce import Tolerances, compare
from edgekd.bench.timing import Timing, time_calls
from edgekd.cli.app import run as run_verb
from edgekd.evaluate import get_protocol, open_dataset
from edgekd.run import Run
from edgekd.steps.bench import bench_run, open_clip, reproduce_bench

QUICK = BenchSettings(minimum=50, seconds=0, cold=False)


def test_the_result_is_kept_in_the_run_and_recorded(exported_run: Path) -> None:
    result, path = bench_run(Run.open(exported_run), (), QUICK, Quiet())
    assert [row.name for row in result.rows] == ["onnxruntime-fp32", "onnxruntime-int8"]
    assert all(row.latency is not None and row.latency.p50 > 0 for row in result.rows)
    assert BenchResult.read(path).rows[0].name == "onnxruntime-fp32"
    run = Run.open(exported_run)
    run.verify(path)
    (step,) = [record for name, record in run.manifest.steps.items() if name.startswith("bench ")]
    assert step.asked["minimum"] == 50


def test_no_bar_is_open_while_samples_are_taken(exported_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal it would be redrawn five times a second, by a thread beside the inferences that are timed."""
    opened: list[str] = []
    at_samples: list[list[str]] = []

    class Opened(Quiet):
        @contextlib.contextmanager
        def task(self, label: str, total: int | None = None, *, every: float = 20.0) -> Iterator[Advance]:
            opened.append(label)
            try:
                yield lambda done: None
            finally:
                opened.remove(label)

    def looked_at(*given: Any, **named: Any) -> Timing:
        at_samples.append([*opened])
        return time_calls(*given, **named)

    monkeypatch.setattr("edgekd.bench.latency.time_calls", looked_at)
    bench_run(Run.open(exported_run), ("onnxruntime",), QUICK, Opened())
    assert len(at_samples) >= 4 and not any(at_samples)


def test_accuracy_is_that_of_the_benched_artefact(exported_run: Path) -> None:
    from small_network import SPEC, pictures, reference_depth, small_network

    data = Path("data")
    for folder in ("rgb", "depth"):
        (data / folder).mkdir(parents=True)
    for number, picture in enumerate(pictures(3, seed=9)):
        Image.fromarray(picture).save(data / "rgb" / f"{number}.png")
        truth = reference_depth(small_network(), SPEC.framing.image(picture)[None])[0]
        np.save(data / "depth" / f"{number}.npy", truth)
    scoring = Scoring(open_dataset("data"), get_protocol("plain"))
    result, _ = bench_run(Run.open(exported_run), ("onnxruntime",), QUICK, Quiet(), scoring=scoring)
    fp32, int8 = (row.evaluation for row in result.rows)
    assert fp32 is not None and int8 is not None
    # The truth is the model's own depth, so fp32 is perfect and int8 is what rounding costs.
    assert fp32.means["raw"]["absrel"] == pytest.approx(0, abs=1e-4)
    assert 1e-4 < int8.means["raw"]["absrel"] < 0.05


@pytest.fixture
def data(exported_run: Path) -> Path:
    """Six frames with the fp32 model's own depth, except one that is twice as far: the worst."""
    from small_network import SPEC, pictures, reference_depth, small_network

    folder = Path("data")
    for part in ("rgb", "depth"):
        (folder / part).mkdir(parents=True)
    for number, picture in enumerate(pictures(6, seed=9)):
        Image.fromarray(picture).save(folder / "rgb" / f"{number}.png")
        truth = reference_depth(small_network(), SPEC.framing.image(picture)[None])[0]
        np.save(folder / "depth" / f"{number}.npy", truth * (2 if number == 4 else 1))
    return folder


def scoring_of(data: Path) -> Scoring:
    return Scoring(open_dataset(str(data)), get_protocol("plain"), str(data))


def test_the_worst_frames_are_kept_for_the_report_unless_that_is_refused(exported_run: Path, data: Path) -> None:
    run = Run.open(exported_run)
    _, path = bench_run(run, (), QUICK, Quiet(), scoring=scoring_of(data))
    kept = Gallery.read(path.with_suffix(".npz"))
    assert kept.worst is not None and kept.worst.names[0] == "4" and kept.worst.truth is not None
    assert kept.held_out is not None and set(kept.held_out.depth) == {"onnxruntime-fp32", "onnxruntime-int8"}
    _, path = bench_run(run, (), QUICK, Quiet(), scoring=scoring_of(data), keep_frames=False)
    refused = Gallery.read(path.with_suffix(".npz"))
    assert refused.worst is None and "--no-frames" in refused.note
    assert not any(name.startswith("worst") for name in np.load(path.with_suffix(".npz")).files)


def test_accuracy_on_one_data_set_does_not_replace_the_bench_without(exported_run: Path, data: Path) -> None:
    run = Run.open(exported_run)
    _, plain = bench_run(run, (), QUICK, Quiet())
    _, scored = bench_run(run, (), QUICK, Quiet(), scoring=scoring_of(data))
    assert plain != scored and plain.is_file() and scored.is_file()


def test_flicker_of_int8_is_compared_with_fp32s(exported_run: Path) -> None:
    result, _ = bench_run(Run.open(exported_run), (), QUICK, Quiet())
    fp32, int8 = (row.flicker for row in result.rows)
    assert fp32 is not None and int8 is not None
    assert fp32.added is None and int8.added is not None and 0 < int8.added < 0.1
    assert result.clip is not None and "glides" in result.clip


def test_a_clip_is_a_video_or_a_folder_of_frames(exported_run: Path, data: Path) -> None:
    clip = open_clip(str(data / "rgb"))
    assert clip.shots[0].shape[0] == 6 and clip.about == "6 frames of rgb"
    for number in range(12):
        (data / "shots").mkdir(exist_ok=True)
        Image.fromarray(np.full((720, 1280, 3), 10 * number, np.uint8)).save(data / "shots" / f"frame{number}.png")
    shots = open_clip(str(data / "shots")).shots[0]
    assert shots[:, 0, 0, 0].tolist() == [10 * number for number in range(12)]  # frame2 before frame10
    assert shots.shape == (12, 360, 640, 3)  # full size, 240 camera frames would fill a board's memory
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(data / "rgb" / "other.png")
    with pytest.raises(DataError, match="sizes: 2"):
        open_clip(str(data / "rgb"))


def test_the_recorded_command_measures_the_same_again(exported_run: Path, data: Path) -> None:
    run = Run.open(exported_run)
    settings = replace(QUICK, seconds=0.5, batch=2, threads=2, streams=2, device="cpu")
    scoring, clip = scoring_of(data), open_clip(str(data / "rgb"))
    _, path = bench_run(run, ("onnxruntime",), settings, Quiet(), scoring=scoring, clip=clip)
    (step,) = [record for name, record in run.manifest.steps.items() if name.startswith("bench ")]
    assert step.command == (
        "edgekd bench {run} --target onnxruntime --data data --protocol plain --clip data/rgb"
        " --threads 2 --streams 2 --batch 2 --seconds 0.5 --device cpu"
    )
    # Each choice is part of the file's name: no other measurement replaces it.
    assert all(part in path.stem for part in ("2-threads", "2-batch", "cpu", "plain"))
    assert step.inputs["data"] == scoring.data.digest


@pytest.mark.parametrize("spec", ["", "~nobody-of-that-name/index.csv", "x" * 300])
def test_data_that_lie_nowhere_here_are_left_out_of_a_reproduction(exported_run: Path, data: Path, spec: str) -> None:
    run = Run.open(exported_run)
    _, path = bench_run(run, (), QUICK, Quiet(), scoring=replace(scoring_of(data), spec=spec))
    compared, _ = reproduce_bench(run, path, None, Tolerances(), Quiet())
    told = [one for one in compared if one.figure in ("AbsRel", "δ1", "accuracy")]
    assert all(one.outcome == "not compared" for one in told), compared
    assert any(one.figure == "p50 ms" for one in compared)


@pytest.mark.parametrize(
    ("name", "value"), [("settings", {"threads": "two"}), ("created", 5), ("idle_watts", {"x": []})]
)
def test_a_bench_file_with_values_of_another_kind_is_refused(exported_run: Path, name: str, value: object) -> None:
    run = Run.open(exported_run)
    _, path = bench_run(run, (), QUICK, Quiet())
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(DataError, match="cannot be read"):
        reproduce_bench(run, path, None, Tolerances(), Quiet())


def test_the_same_again_is_the_same_and_what_differs_is_named(exported_run: Path, data: Path) -> None:
    run = Run.open(exported_run)
    _, path = bench_run(run, (), QUICK, Quiet(), scoring=scoring_of(data))
    compared, again = reproduce_bench(run, path, None, Tolerances(), Quiet())
    assert again != path
    accuracy = [one for one in compared if one.figure in ("AbsRel", "δ1")]
    assert len(accuracy) == 4 and all(one.outcome == "same" and one.before == one.after for one in accuracy)
    value = json.loads(path.read_text())
    value["rows"][0]["evaluation"]["means"]["raw"]["absrel"] += 0.01
    value["rows"][1]["model"] = "0" * 64
    value["machine"]["cpu"] = "another"
    altered = Path("altered.json")
    altered.write_text(json.dumps(value))
    compared, _ = reproduce_bench(run, altered, None, Tolerances(), Quiet())
    outcomes = {(one.artefact, one.figure): one for one in compared}
    assert outcomes["onnxruntime-fp32", "AbsRel"].outcome == "differs"
    assert outcomes["onnxruntime-fp32", "p50 ms"].outcome == "not compared"
    assert "different machine: CPU another then" in outcomes["onnxruntime-fp32", "p50 ms"].why
    assert outcomes["onnxruntime-int8", "model"].outcome == "differs"


def test_a_reproduction_does_not_replace_what_it_is_compared_with(exported_run: Path) -> None:
    run = Run.open(exported_run)
    _, path = bench_run(run, (), QUICK, Quiet())
    found = [path]
    for _ in range(3):
        kept = {path: path.read_bytes() for path in found}
        found.append(reproduce_bench(run, found[-1], None, Tolerances(), Quiet())[1])
        assert {path: path.read_bytes() for path in kept} == kept
    assert len(set(found)) == 4


def test_data_for_a_bench_that_scored_nothing_are_refused_before_anything_is_measured(
    exported_run: Path, data: Path
) -> None:
    run = Run.open(exported_run)
    _, path = bench_run(run, (), QUICK, Quiet())
    with pytest.raises(UsageError, match="holds no accuracy"):
        reproduce_bench(run, path, str(data), Tolerances(), Quiet())
    assert {found.stem for found in path.parent.iterdir()} == {path.stem}


def test_other_data_and_another_version_are_refused_or_told(exported_run: Path, data: Path) -> None:
    run = Run.open(exported_run)
    _, path = bench_run(run, (), QUICK, Quiet(), scoring=scoring_of(data))
    np.save(data / "depth" / "0.npy", np.load(data / "depth" / "0.npy") * 1.1)
    compared, _ = reproduce_bench(run, path, str(data), Tolerances(), Quiet())
    assert {one.why for one in compared if one.figure == "accuracy"} == {"different data or protocol"}
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 1}))
    with pytest.raises(DataError, match="schema 1; this version of edgekd reads 2"):
        reproduce_bench(run, path, None, Tolerances(), Quiet())


def test_latencies_are_compared_by_their_grades(exported_run: Path) -> None:
    result, _ = bench_run(Run.open(exported_run), (), QUICK, Quiet())

    def graded(letter: str, factor: float) -> BenchResult:
        rows = []
        for row in result.rows:
            assert row.latency is not None
            infer = row.latency.infer
            timing = replace(infer.timing, p50=4.0 * factor)
            infer = replace(infer, timing=timing, grade=replace(infer.grade, letter=letter))  # type: ignore[arg-type]
            rows.append(replace(row, latency=replace(row.latency, infer=infer)))
        return replace(result, rows=tuple(rows))

    def outcome(first: BenchResult, second: BenchResult) -> str:
        return next(one.outcome for one in compare(first, second, Tolerances()) if one.figure == "p50 ms")

    assert outcome(graded("A", 1), graded("A", 1.02)) == "same"
    assert outcome(graded("A", 1), graded("A", 1.05)) == "differs"
    assert outcome(graded("A", 1), graded("B", 1.05)) == "same"
    assert outcome(graded("A", 1), graded("C", 1.5)) == "not compared"


def test_a_missing_runtime_has_the_exit_code_of_one(
    exported_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As edgekd predict has for the same message."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    said = []
    for verb, more in (("bench", ["--seconds", "0"]), ("predict", [])):
        Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save("a.png")
        assert run_verb([verb, "small", *(more or ["a.png"])]) == 3
        said.append(capsys.readouterr().err.splitlines()[-1])
    assert said[0].replace("Nothing was measured: ", "") == said[1]
