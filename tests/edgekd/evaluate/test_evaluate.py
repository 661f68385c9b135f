"""Scoring a model on a data set: what goes into a mean, what is counted, and what is refused."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from notes import Notes
from numpy.typing import NDArray

from calibration.errors import DataError, ModelError
from calibration.progress import Quiet
from edgekd.evaluate import PROTOCOLS, DepthFrame, Evaluation, evaluate, open_dataset
from edgekd.evaluate.scorable import require_scorable
from targets.input import Framing, InputSpec

INPUT = InputSpec(Framing(6, 8))


@dataclass
class Memory:
    """Frames in memory; the red channel is the depth in decimetres, so that a prediction can be made from it."""

    depths: list[NDArray[np.float32]]
    name: str = "memory"
    note: str = ""
    digest: str = "d"

    def __len__(self) -> int:
        return len(self.depths)

    def __getitem__(self, index: int) -> DepthFrame:
        depth = self.depths[index]
        rgb = np.repeat((depth * 10).round().astype(np.uint8)[..., None], 3, axis=2)
        return DepthFrame(rgb, depth, f"scene {index}", f"frame {index}")


@dataclass
class Chosen:
    """Some frames of another data set."""

    frames: list[DepthFrame]
    name: str = "chosen"
    note: str = ""
    digest: str = "d"

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> DepthFrame:
        return self.frames[index]


def frames(count: int = 3, seed: int = 0) -> Memory:
    generator = np.random.default_rng(seed)
    return Memory([generator.integers(5, 90, (6, 8)).astype(np.float32) / 10 for _ in range(count)])


def frame_of(depth: NDArray[np.float32], scene: str, name: str) -> DepthFrame:
    return replace(Memory([depth])[0], scene=scene, name=name)


def seen(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return (images[..., 0] / 10).astype(np.float32)


def test_a_perfect_model() -> None:
    result = evaluate(seen, INPUT, frames(), PROTOCOLS["plain"], Quiet())
    for by_metric in result.means.values():
        assert by_metric["absrel"] == pytest.approx(0, abs=1e-6)
        assert by_metric["delta1"] == 1 and by_metric["scale"] == pytest.approx(1)
    assert (result.images, result.pixels, result.errors, result.covered) == (3, 3 * 48, 0, 1)


def test_a_wrong_scale_shows_raw_and_is_gone_when_aligned() -> None:
    result = evaluate(lambda images: 1.1 * seen(images), INPUT, frames(), PROTOCOLS["plain"], Quiet())
    assert result.means["raw"]["absrel"] == pytest.approx(0.1, abs=1e-5)
    assert result.means["raw"]["scale"] == pytest.approx(1.1, abs=1e-5)
    assert result.means["median"]["absrel"] == pytest.approx(0, abs=1e-5)
    assert result.means["scale-shift"]["absrel"] == pytest.approx(0, abs=1e-5)


def test_a_shift_is_only_gone_with_scale_and_shift() -> None:
    result = evaluate(lambda images: seen(images) + 0.5, INPUT, frames(), PROTOCOLS["plain"], Quiet())
    assert result.means["median"]["absrel"] > 0.02
    assert result.means["scale-shift"]["absrel"] == pytest.approx(0, abs=1e-5)


def test_each_image_counts_alike_however_few_its_pixels() -> None:
    sparse = np.zeros((6, 8), np.float32)
    sparse[0, 0] = 2.0
    data = Memory([np.full((6, 8), 2, np.float32), sparse])

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.full((1, 6, 8), 2.0 if images[0, 1, 1, 0] else 3.0, np.float32)

    result = evaluate(predict, INPUT, data, PROTOCOLS["plain"], Quiet())
    assert result.means["raw"]["absrel"] == pytest.approx(0.25)  # (0 + 0.5) / 2, not 0.5 / 49
    assert [row.valid for row in result.rows] == [48, 1]
    # The sparse frame's one pixel is 1 m off; over all pixels it is one of 49.
    assert result.pixel_means["raw"]["absrel"] == pytest.approx(0.5 / 49)
    assert result.pixel_means["raw"]["rmse"] == pytest.approx((1 / 49) ** 0.5)
    assert result.pixel_means["raw"]["delta1"] == pytest.approx(48 / 49)


def test_over_all_pixels_silog_averages_by_its_squares() -> None:
    """Half of one frame's 48 pixels are 1.2 times too far: SILog 50 ln 1.2; the other frame's one pixel has none."""
    data = Memory([np.full((6, 8), 2, np.float32), np.zeros((6, 8), np.float32)])
    data.depths[1][0, 0] = 2.0
    shown = np.full((1, 6, 8), 2, np.float32)
    shown[:, 3:] *= 1.2
    result = evaluate(lambda images: shown, INPUT, data, PROTOCOLS["plain"], Quiet())
    assert result.pixel_means["raw"]["silog"] == pytest.approx(50 * np.log(1.2) * (48 / 49) ** 0.5, rel=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0, -4.0])
def test_bad_predictions_are_counted_and_cost(bad: float) -> None:
    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        depth = seen(images).copy()
        depth[0, 0, :4] = bad
        return depth

    notes = Notes()
    result = evaluate(predict, INPUT, frames(), PROTOCOLS["plain"], notes)
    assert result.errors == 12 and result.pixels == 144
    assert result.means["raw"]["delta1"] < 1 and result.means["raw"]["absrel"] > 0.01
    assert result.means["median"]["absrel"] > 0.01
    assert any("12 of 144 predictions" in line for line in notes.said)
    json.dumps(result.to_json(), allow_nan=False)


def test_a_bad_prediction_is_not_aligned_with_the_others() -> None:
    """Zero is scored at the near end of the clamp, and not where the others' shift of 2 m would move it."""

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        depth = seen(images) - 2
        depth[0, 0, :4] = 0
        return depth

    truth = np.linspace(3, 6, 48, dtype=np.float32).reshape(6, 8).round(1)
    result = evaluate(predict, INPUT, Memory([truth]), PROTOCOLS["plain"], Quiet())
    expected = ((truth[0, :4] - 0.1) / truth[0, :4]).sum() / 48
    assert result.means["scale-shift"]["absrel"] == pytest.approx(expected, rel=1e-4)


def test_a_model_that_gives_nothing_but_nan() -> None:
    nothing = np.full((1, 6, 8), np.nan, np.float32)
    result = evaluate(lambda images: nothing, INPUT, frames(), PROTOCOLS["plain"], Quiet())
    assert result.errors == result.pixels
    json.dumps(result.to_json(), allow_nan=False)


def test_frames_without_depth_are_named_and_left_out() -> None:
    data = frames()
    data.depths[1] = np.zeros((6, 8), np.float32)
    notes = Notes()
    result = evaluate(seen, INPUT, data, PROTOCOLS["plain"], notes)
    assert result.skipped == ("frame 1",) and result.images == 2
    assert any("frame 1" in line for line in notes.said)


def test_frames_without_depth_are_noted_before_a_model_is_measured() -> None:
    data, notes = frames(), Notes()
    require_scorable(data, PROTOCOLS["plain"], notes)
    assert notes.said == []
    data.depths[1] = np.zeros((6, 8), np.float32)
    require_scorable(data, PROTOCOLS["plain"], notes)
    assert notes.said == ["1 frame has no depth that plain scores and will be skipped, first frame 1"]
    for nothing in (0, 50):  # 50 m is beyond the range of this protocol
        data.depths[:] = [np.full((6, 8), nothing, np.float32)] * 3
        with pytest.raises(DataError, match="No frame of memory has a pixel"):
            require_scorable(data, PROTOCOLS["plain"], notes)


def test_depth_that_the_network_does_not_see_counts_as_uncovered() -> None:
    """As at the sides of a wide picture in front of a square network."""
    data = frames(2)
    aside = np.zeros((6, 8), np.float32)
    aside[:, 0] = 3
    data.depths[1] = aside
    square, whole = InputSpec(Framing(6, 6)), replace(PROTOCOLS["kitti-garg"], crop=None)
    notes = Notes()
    result = evaluate(lambda images: np.ones((1, 6, 6), np.float32), square, data, whole, notes)
    assert result.skipped == ("frame 1",)
    assert result.covered == pytest.approx((0.75 + 0) / 2)
    assert any("the network saw 37.5%" in line for line in notes.said)
    assert any("1 frame has no valid depth" in line and "was skipped: frame 1" in line for line in notes.said)
    nearly = evaluate(lambda images: np.ones((1, 6, 6), np.float32), square, frames(2), whole, notes)
    assert "the network saw 75.0%" in nearly.remarks()[-1]


def test_a_hole_in_the_truth_does_not_count_as_uncovered() -> None:
    data = frames(1)
    data.depths[0][:3] = 0
    whole = replace(PROTOCOLS["kitti-garg"], crop=None)
    notes = Notes()
    result = evaluate(seen, INPUT, data, whole, notes)
    assert result.covered == 1 and not any("the network saw" in line for line in notes.said)


def test_the_difference_of_two_models_is_that_of_the_frames_both_scored_by_scene() -> None:
    """One model always gives 2 m, the other the truth. Four equal frames of a scene are one sample, not four."""
    depths = np.linspace(0.6, 6.0, 10).round(1)
    rows = [(f"scene {scene}", f"frame {shot}", depth) for scene, depth in enumerate(depths) for shot in range(4)]
    data = Chosen([frame_of(np.full((6, 8), depth, np.float32), scene, name) for scene, name, depth in rows])
    hole = frame_of(np.zeros((6, 8), np.float32), "scene 0", "hole")
    alone = frame_of(np.full((6, 8), 9.0, np.float32), "scene 0", "alone")

    def two_metres(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.full((1, 6, 8), 2, np.float32)

    more = replace(data, frames=[hole, alone, *data.frames])
    constant = evaluate(two_metres, INPUT, more, PROTOCOLS["plain"], Quiet())
    unseen = replace(alone, depth=hole.depth)
    others = replace(data, frames=[*data.frames[::-1], hole, unseen])
    perfect = evaluate(seen, INPUT, others, PROTOCOLS["plain"], Quiet())
    errors = np.abs(2 - depths) / depths
    means = np.random.default_rng(5).choice(errors, (20000, 10)).mean(axis=1)
    by_scene = pytest.approx(np.quantile(means, (0.025, 0.975)).tolist(), rel=0.06)
    ends = constant.difference(perfect, "absrel")
    assert ends == by_scene
    of_its_own = evaluate(two_metres, INPUT, data, PROTOCOLS["plain"], Quiet())
    assert of_its_own.interval("absrel") == by_scene  # the other model makes no error
    low, high = perfect.difference(constant, "absrel") or (0, 0)
    assert (-high, -low) == pytest.approx(ends)
    elsewhere = evaluate(seen, INPUT, replace(data, frames=[alone]), PROTOCOLS["plain"], Quiet())
    assert perfect.difference(elsewhere, "absrel") is None  # no frame of both
    assert constant.difference(elsewhere, "absrel") is None  # one is not enough


def test_no_depth_at_all_is_an_error() -> None:
    data = Memory([np.full((6, 8), 50, np.float32)])
    with pytest.raises(DataError, match=r"0.1-10 m"):
        evaluate(lambda images: np.ones((1, 6, 8), np.float32), INPUT, data, PROTOCOLS["plain"], Quiet())


def test_a_prediction_of_another_size_is_the_models_fault() -> None:
    with pytest.raises(ModelError, match=r"\[1, 3, 4\]"):
        evaluate(lambda images: np.ones((1, 3, 4), np.float32), INPUT, frames(), PROTOCOLS["plain"], Quiet())


def test_a_crop_that_does_not_fit_names_the_frame() -> None:
    with pytest.raises(DataError, match="frame 0"):
        evaluate(seen, INPUT, frames(), PROTOCOLS["nyu-eigen"], Quiet())


def test_json_round_trip() -> None:
    data = frames(12)
    data.depths[1] = np.zeros((6, 8), np.float32)
    result = evaluate(lambda images: seen(images) * 1.3 + 0.2, INPUT, data, PROTOCOLS["plain"], Quiet())
    text = json.dumps(result.to_json(), allow_nan=False)
    assert Evaluation.from_json(json.loads(text)) == result
    assert result.drawn == "scenes"
    low, high = result.intervals["raw"]["absrel"]
    assert low < result.means["raw"]["absrel"] < high
    for name, odd in (("means", {}), ("covered", "all"), ("protocol", 5), ("pixel_means", {"raw": {}})):
        with pytest.raises(DataError, match="cannot be read"):
            Evaluation.from_json({**result.to_json(), name: odd})
    with pytest.raises(DataError, match="means"):
        Evaluation.from_json({key: value for key, value in result.to_json().items() if key != "means"})
    for field, odd in (("valid", "5"), ("name", 5), ("scores", {}), ("scores", {"raw": {"absrel": "0.5"}})):
        value = json.loads(text)
        value["rows"][0][field] = odd
        with pytest.raises(DataError, match="cannot be read"):
            Evaluation.from_json(value)
    value = json.loads(text)
    del value["rows"][0]["scores"]["median"]["rmse"]
    with pytest.raises(DataError, match="rmse"):
        Evaluation.from_json(value)


@pytest.mark.skipif("EDGEKD_SHARED" not in os.environ, reason="EDGEKD_SHARED names no folder with real frames")
def test_fastdepth_on_real_frames() -> None:
    """FastDepth's published delta1 on NYU Depth v2 is 0.771; on a handful of its frames it must be similar."""
    runtime = pytest.importorskip("onnxruntime")
    shared = Path(os.environ["EDGEKD_SHARED"])
    session = runtime.InferenceSession(str(shared / "teachers/fastdepth/fastdepth_7.onnx"))
    name = session.get_inputs()[0].name

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        planes = (images.astype(np.float32) / 255).transpose(0, 3, 1, 2)
        depth: NDArray[np.float32] = session.run(None, {name: planes})[0][:, 0]
        return depth

    spec = InputSpec(Framing(224, 224, resize_height=250, crop=(228, 304)))
    data = open_dataset(str(shared / "real"))
    chosen = Chosen([frame for frame in (data[i] for i in range(9)) if frame.scene == "nyu"])
    result = evaluate(predict, spec, chosen, PROTOCOLS["plain"], Quiet())
    assert result.images == 7
    assert result.means["raw"]["delta1"] > 0.75 and result.means["raw"]["absrel"] < 0.2
    hu = evaluate(predict, spec, chosen, PROTOCOLS["nyu-hu"], Quiet())
    assert hu.means["raw"]["delta1"] == pytest.approx(result.means["raw"]["delta1"], abs=0.02)
