"""A bench of real artefacts of a small network, beside artefacts that cannot run here."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from notes import Notes
from numpy.typing import NDArray

from calibration.errors import ArtefactError, DataError
from calibration.progress import Quiet
from edgekd.bench import BenchResult, BenchSettings, Clip, Scoring, bench, bench_table
from edgekd.bench.cold import measure_cold
from edgekd.evaluate import PROTOCOLS, DepthFrame
from targets.base import Artefact, BuildOptions
from targets.input import Framing, InputSpec

INPUT = InputSpec(Framing(16, 24))
PICTURES = list(np.random.default_rng(0).integers(0, 255, (5, 48, 64, 3), dtype=np.uint8))
QUICK = BenchSettings(minimum=50, seconds=0, cold=False)
SHOT = np.stack([np.roll(PICTURES[0], step, axis=1) for step in range(5)])


class Reds:
    """Frames with the depth that `artefact` computes from their red, so that a faithful runner is nearly perfect."""

    name, note, digest = "reds", "made for the test", "d"

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> DepthFrame:
        red = np.full((32, 48), 40 + 60 * index, np.uint8)
        rgb = np.stack([red, red, red], axis=2)
        return DepthFrame(rgb, (red / 51).astype(np.float32), "s", f"red {index}")


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """fp32 for onnxruntime: depth is the mean of the channels / 51, by a 1x1 convolution."""
    pytest.importorskip("onnxruntime", reason="the bench needs one runtime to measure")
    onnx = pytest.importorskip("onnx")
    from targets import get_target

    helper, tensor = onnx.helper, onnx.TensorProto
    weight = np.full((1, 3, 1, 1), 1 / 153, np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=tensor.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "weight"], ["plane"]),
        helper.make_node("Squeeze", ["plane", "axes"], ["depth"]),
    ]
    graph = helper.make_graph(
        nodes,
        "reds",
        [helper.make_tensor_value_info("image", tensor.UINT8, ["N", 16, 24, 3])],
        [helper.make_tensor_value_info("depth", tensor.FLOAT, ["N", 16, 24])],
        [onnx.numpy_helper.from_array(weight, "weight"), onnx.numpy_helper.from_array(np.array([1]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"edgekd.input": json.dumps(INPUT.to_json())})
    folder = tmp_path_factory.mktemp("bench")
    onnx.save(model, folder / "student.onnx")
    return get_target("onnxruntime").build(
        folder / "student.onnx", "fp32", None, BuildOptions(), Quiet(), into=folder / "onnxruntime-fp32"
    )


@pytest.fixture(scope="module")
def result(artefact: Artefact) -> BenchResult:
    altered = replace(artefact, model="gone.onnx", precision="int8")
    elsewhere = replace(artefact, target="tensorrt", can_run_here=False, device_command="edgekd bundle")
    unknown = replace(artefact, target="tensorflow")
    artefacts = [artefact, altered, elsewhere, unknown]
    scoring, clip = Scoring(Reds(), PROTOCOLS["plain"], "data/reds"), Clip((SHOT,), "a roll")
    return bench(artefacts, PICTURES, "noise", QUICK, Quiet(), scoring=scoring, clip=clip, run="small")


def test_every_artefact_is_a_row(result: BenchResult) -> None:
    names = [row.name for row in result.rows]
    assert names == ["onnxruntime-fp32", "onnxruntime-int8", "tensorrt-fp32", "tensorflow-fp32"]
    assert [row.latency is None for row in result.rows] == [False, True, True, True]
    assert result.rows[0].reason is None
    assert "gone.onnx" in (result.rows[1].reason or "")
    assert result.rows[2].fix == "edgekd bundle"
    assert "tensorflow" in (result.rows[3].reason or "")


def test_what_was_measured(result: BenchResult, artefact: Artefact) -> None:
    row = result.rows[0]
    assert row.latency is not None and row.evaluation is not None
    assert row.latency.infer.timing.samples >= 50 and row.latency.settings["threads"] == "1"
    assert row.latency.camera == "64x48" and row.latency.framed is not None and row.latency.resident is not None
    assert row.throughput is not None and row.throughput.pictures_per_second > 0
    for measured in (row.latency.infer, row.latency.framed, row.latency.resident, row.throughput.measured):
        assert measured.grade.letter in "ABC" and measured.grade.evidence
    assert row.flicker is not None and row.flicker.frames == 5 and row.flicker.added is None  # fp32 itself
    assert row.model == artefact.files[artefact.model]
    assert (result.run, result.data, result.clip) == ("small", "data/reds", "a roll")
    assert row.size == sum(path.stat().st_size for path in artefact.folder.glob("*.onnx"))
    assert row.evaluation.means["raw"]["absrel"] < 1e-5
    assert row.evaluation.protocol == "plain"


def test_json_round_trip(result: BenchResult, tmp_path: Path) -> None:
    result.write(tmp_path / "bench" / "here.json")
    assert BenchResult.read(tmp_path / "bench" / "here.json") == result
    json.dumps(result.to_json(), allow_nan=False)


def test_another_schema_and_damage_are_refused(result: BenchResult, tmp_path: Path) -> None:
    value = result.to_json()
    with pytest.raises(DataError, match="schema 99"):
        BenchResult.from_json({**value, "schema": 99})
    del value["rows"][0]["size"]
    with pytest.raises(DataError, match="size"):
        BenchResult.from_json(value)
    with pytest.raises(DataError, match="schema None"):
        BenchResult.from_json([])  # type: ignore[arg-type]
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(DataError, match=r"x\.json"):
        BenchResult.read(tmp_path / "x.json")


def test_a_file_of_an_earlier_version_is_read_without_what_was_added_later(result: BenchResult) -> None:
    value = result.to_json()
    for row in value["rows"]:
        del row["missing"]
    unknown = tuple(replace(row, missing=False) for row in result.rows)
    assert BenchResult.from_json(value) == replace(result, rows=unknown)


@pytest.mark.parametrize(
    ("error", "reason", "fix"),
    [
        (RuntimeError("CUDA error 700\nat line 3"), "RuntimeError: CUDA error 700", "edgekd export"),
        # Built anew, it would need as much again.
        (MemoryError("Unable to allocate 4.29 GiB"), "out of memory", "--batch"),
    ],
)
def test_an_error_of_the_runtime_itself_is_a_row(
    artefact: Artefact, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str, fix: str
) -> None:
    from targets import onnxruntime

    def fail(self: object, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise error

    monkeypatch.setattr(onnxruntime.OnnxRuntimeRunner, "infer", fail)
    row = bench([artefact], PICTURES, "noise", QUICK, Quiet()).rows[0]
    assert row.reason == reason and fix in (row.fix or "")


def test_data_that_do_not_suit_the_protocol_are_found_before_anything_is_measured(artefact: Artefact) -> None:
    with pytest.raises(DataError, match=r"red 0: .*480x640"):
        bench([artefact], PICTURES, "noise", QUICK, Quiet(), scoring=Scoring(Reds(), PROTOCOLS["nyu-eigen"]))


class Damaged(Reds):
    """Frames of which the second cannot be read once `whole` readings were good."""

    def __init__(self, whole: int) -> None:
        self.whole = whole

    def __getitem__(self, index: int) -> DepthFrame:
        self.whole -= 1
        if index == 1 and self.whole < 0:
            raise DataError("red 1 is truncated", fix="Restore it")
        return super().__getitem__(index)


def test_damaged_data_are_found_before_anything_is_measured(artefact: Artefact) -> None:
    notes = Notes()
    with pytest.raises(DataError, match="red 1 is truncated"):
        bench([artefact], PICTURES, "noise", QUICK, notes, scoring=Scoring(Damaged(0), PROTOCOLS["plain"]))
    assert notes.said == []


def test_data_damaged_meanwhile_cost_the_accuracy_and_not_the_latency(artefact: Artefact) -> None:
    scoring = Scoring(Damaged(len(Reds())), PROTOCOLS["plain"])
    row = bench([artefact], PICTURES, "noise", QUICK, Quiet(), scoring=scoring).rows[0]
    assert row.latency is not None and row.evaluation is None
    assert row.reason == "red 1 is truncated"


def test_pictures_of_the_networks_size_are_not_framed_again(artefact: Artefact) -> None:
    framed = [INPUT.framing.image(picture) for picture in PICTURES]
    row = bench([artefact], framed, "noise", QUICK, Quiet()).rows[0]
    assert row.latency is not None and row.latency.framed is None


def test_nothing_to_measure(artefact: Artefact) -> None:
    with pytest.raises(DataError, match="no artefacts"):
        bench([], PICTURES, "noise", QUICK, Quiet())
    with pytest.raises(DataError, match="no pictures"):
        bench([artefact], [], "noise", QUICK, Quiet())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"threads": 0}, "with threads 0"),
        ({"batch": -1}, "with batch -1"),
        ({"streams": 0}, "with streams 0"),
        ({"seconds": float("inf")}, "of inf s"),
        ({"seconds": -1.0}, "of -1.0 s"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_named_alone(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=f"A bench {says}[^,]* cannot be run"):
        BenchSettings(**settings)


def printed(result: BenchResult, width: int) -> str:
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=width).print(bench_table(result, width=width))
    return stream.getvalue()


@pytest.mark.parametrize("width", [200, 100, 80, 60])
def test_table_fits_and_keeps_what_matters(result: BenchResult, width: int) -> None:
    text = printed(result, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "\x1b" not in text  # no colour codes in a pipe
    for row in result.rows:
        assert any(line.strip().startswith(row.name) for line in lines)
    for word in ("p50 ms", "grade", "plain", "AbsRel", "onnxruntime-fp32"):
        assert word in text
    unwrapped = "".join(text.split())
    assert "edgekdbundle" in unwrapped and "gone.onnx" in unwrapped
    assert ("Omitted" in text) == (width < 200)


def test_best_values_are_starred_and_protocols_never_share_a_column(result: BenchResult) -> None:
    row = result.rows[0]
    assert row.latency is not None and row.evaluation is not None
    worse = {**row.evaluation.means, "raw": {**row.evaluation.means["raw"], "delta1": 0.5, "absrel": 0.25}}
    infer = replace(row.latency.infer, timing=replace(row.latency.infer.timing, p50=99.0))
    slow = replace(row, name="slow", latency=replace(row.latency, infer=infer))
    slow = replace(slow, evaluation=replace(row.evaluation, means=worse))
    text = printed(replace(result, rows=(row, slow)), 200)
    first, second = (next(line for line in text.splitlines() if name in line) for name in ("onnxruntime", "slow"))
    assert f"{row.latency.p50:.2f}*" in first and "99.00 " in second
    assert "1.000*" in first and "0.500 " in second and "0.250 " in second
    other = replace(slow, evaluation=replace(slow.evaluation, protocol="scannet"))  # type: ignore[type-var]
    text = printed(replace(result, rows=(row, other)), 300)
    heading = next(line for line in text.splitlines() if "plain" in line and "scannet" in line)
    assert heading.count("plain") == heading.count("scannet") == 4
    first, second = (next(line for line in text.splitlines() if name in line) for name in ("onnxruntime", "slow"))
    assert first.split()[-4:] == ["-"] * 4 and "0.500" in second


def test_load_and_memory_are_those_of_processes_of_their_own(artefact: Artefact) -> None:
    found = measure_cold(artefact, threads=1, device=None)
    assert found.processes == 3 and found.load > 1
    assert 0 < found.first < found.load  # a small network: importing the runtime is not a part of its first inference
    if Path("/proc/self/status").exists():
        assert found.base_mib is not None and found.peak_mib is not None
        # ONNX Runtime is a library of some 20 MB; this test's own process is far larger.
        assert 10 < found.peak_mib - found.base_mib < 200 and found.base_mib < 150
    assert found.grade.evidence


def test_files_of_the_users_with_our_packages_names_are_not_imported(
    artefact: Artefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "calibration.py").write_text("")
    (tmp_path / "targets.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert measure_cold(artefact, threads=1, device=None).processes == 3


def test_a_clip_with_a_depth_that_is_no_number_costs_the_flicker_alone(
    artefact: Artefact, monkeypatch: pytest.MonkeyPatch
) -> None:
    from targets import onnxruntime

    infer = onnxruntime.OnnxRuntimeRunner.infer

    def dark(self: onnxruntime.OnnxRuntimeRunner, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        depth = infer(self, images)
        depth[images.reshape(len(images), -1).max(axis=1) == 0, 0, 0] = np.nan
        return depth

    monkeypatch.setattr(onnxruntime.OnnxRuntimeRunner, "infer", dark)
    clip = Clip((np.zeros_like(SHOT),), "a lens cap")
    row = bench(
        [artefact], PICTURES, "noise", QUICK, Quiet(), scoring=Scoring(Reds(), PROTOCOLS["plain"]), clip=clip
    ).rows[0]
    assert row.latency is not None and row.evaluation is not None and row.throughput is not None
    assert row.flicker is None and row.reason is not None and "clip is NaN" in row.reason


def test_an_artefact_that_does_not_open_elsewhere_is_one_line(artefact: Artefact, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"fails to open in a new process \(.*artefact\.json is missing"):
        measure_cold(replace(artefact, folder=tmp_path), threads=1, device=None)


def test_energy_is_that_of_the_samples(result: BenchResult) -> None:
    row = result.rows[0]
    assert row.latency is not None
    assert row.millijoules is None or row.millijoules > 0
    infer = row.latency.infer
    ten = replace(infer, conditions=replace(infer.conditions, joules=10.0), timing=replace(infer.timing, samples=400))
    latency = replace(row.latency, infer=ten, batch=5)
    assert replace(row, latency=latency).millijoules == pytest.approx(5.0)
    text = printed(replace(result, rows=(replace(row, latency=latency),)), 300)
    assert "mJ" in text and "5.0" in text
