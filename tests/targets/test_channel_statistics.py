"""Stored statistics: how models carry them, and what follows from them, against samples of the same distributions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from small_network import SPEC, pictures, save, small_network

from calibration.errors import ModelError
from calibration.progress import Quiet
from targets.coverage import UNCOVERED, LayerCoverage, measure_layers
from targets.gaussian import Gaussian, propagate, share_above
from targets.graph import read_graph
from targets.layers import conv_layers
from targets.learned import RANGES_KEY, pack_ranges
from targets.reference import fold, stream_tensors
from targets.statistics import STATISTICS_KEY, ChannelStatistics, pack_statistics, read_statistics


def with_statistics(model: onnx.ModelProto, statistics: dict[str, ChannelStatistics]) -> onnx.ModelProto:
    found = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, {**found, STATISTICS_KEY: pack_statistics(statistics)})
    return model


def seen_statistics(images: np.ndarray) -> dict[str, ChannelStatistics]:
    """What BatchNorm layers behind the small network's convolutions would have stored on these pictures."""
    model = fold(small_network())
    names = [layer.output for layer in conv_layers(model).values()]
    parts = list(stream_tensors(model, images, names))
    found = {}
    for layer, values in zip(conv_layers(model), map(np.concatenate, zip(*parts, strict=True)), strict=True):
        found[layer] = ChannelStatistics(values.mean(axis=(0, 2, 3)), values.std(axis=(0, 2, 3)))
    return found


def test_statistics_travel_in_the_metadata(tmp_path: Path) -> None:
    statistics = seen_statistics(pictures(4))
    path = save(with_statistics(small_network(), statistics), tmp_path / "student.onnx")
    back = read_statistics(read_graph(path).model)
    assert back.keys() == statistics.keys()
    for name, stored in statistics.items():
        np.testing.assert_allclose(back[name].mean, stored.mean, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(back[name].deviation, stored.deviation, rtol=1e-3, atol=1e-4)


def test_a_model_without_statistics_has_none() -> None:
    assert read_statistics(small_network()) == {}


@pytest.mark.parametrize("text", ["{", '{"conv": 1}', '{"conv": ["!", "!"]}', "[]"])
def test_statistics_that_cannot_be_read_are_named(text: str) -> None:
    model = small_network()
    helper.set_model_props(model, {STATISTICS_KEY: text})
    if text == "[]":
        with pytest.raises(ModelError, match="metadata"):
            read_statistics(model)
        return
    with pytest.raises(ModelError, match=STATISTICS_KEY):
        read_statistics(model)


def test_activations_are_followed_as_samples_go() -> None:
    rng = np.random.default_rng(3)
    model = fold(small_network())
    first, second = list(conv_layers(model).values())[:2]
    mean, deviation = rng.normal(0, 1, 8), rng.uniform(0.2, 1.5, 8)
    stored = ChannelStatistics(mean.astype(np.float32), deviation.astype(np.float32))
    known = propagate(model, {first.name: stored}, SPEC)
    samples = np.maximum(rng.normal(mean[:, None], deviation[:, None], (8, 200_000)), 0)
    np.testing.assert_allclose(known[second.source].mean, samples.mean(axis=1), atol=0.01)
    np.testing.assert_allclose(known[second.source].deviation, samples.std(axis=1), atol=0.01)
    # Through a convolution whose inputs are drawn independently of each other.
    weight = second.weights.weight.astype(np.float64)
    drawn = np.maximum(rng.normal(mean[:, None, None], deviation[:, None, None], (20_000, 8, 3, 3)), 0)
    outputs = drawn.reshape(len(drawn), -1) @ weight.reshape(len(weight), -1).T + second.weights.bias
    np.testing.assert_allclose(known[second.output].mean, outputs.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(known[second.output].deviation, outputs.std(axis=0), rtol=0.05)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.0, None), (None, 1.0), (None, None)])
def test_a_clip_cuts_off_at_the_ends_that_it_has(bounds: tuple[float | None, float | None]) -> None:
    rng = np.random.default_rng(3)
    given = dict(zip(("low", "high"), bounds, strict=True))
    names = ["" if value is None else name for name, value in given.items()]
    node = helper.make_node("Clip", ["x", *names] if any(names) else ["x"], ["y"], name="clip")
    conv = helper.make_node("Conv", ["image", "w"], ["x"], name="conv")
    constants = [
        onnx.numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in given.items()
        if value is not None
    ]
    constants.append(onnx.numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "w"))
    graph = helper.make_graph([conv, node], "g", [], [], constants)
    mean, deviation = np.array([-0.5, 0.4, 2.0]), np.array([1.0, 0.7, 0.5])
    stored = ChannelStatistics(mean.astype(np.float32), deviation.astype(np.float32))
    found = propagate(helper.make_model(graph), {"conv": stored}, SPEC)["y"]
    lowest, highest = (-np.inf if bounds[0] is None else bounds[0]), (np.inf if bounds[1] is None else bounds[1])
    samples = rng.normal(mean[:, None], deviation[:, None], (3, 400_000)).clip(lowest, highest)
    np.testing.assert_allclose(found.mean, samples.mean(axis=1), atol=0.005)
    np.testing.assert_allclose(found.deviation, samples.std(axis=1), atol=0.005)
    assert found.low.min() >= lowest
    assert found.high.max() <= highest


def test_a_stem_that_does_not_read_three_channels_reads_no_pictures() -> None:
    """The distribution of a picture folded into four times the channels, or turned grey, is unknown."""
    stored = ChannelStatistics(np.zeros(3, np.float32), np.ones(3, np.float32))
    for channels in (1, 12):
        weights = [("stem", (4, channels, 1, 1)), ("second", (3, 4, 1, 1))]
        constants = [onnx.numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in weights]
        nodes = [
            helper.make_node("Conv", ["image", "stem"], ["x"], name="stem"),
            helper.make_node("Conv", ["x", "second"], ["y"], name="second"),
        ]
        model = helper.make_model(helper.make_graph(nodes, "g", [], [], constants))
        assert set(propagate(model, {"second": stored}, SPEC)) == {"y"}


def test_share_above_is_the_normal_tail() -> None:
    found = Gaussian.of(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    np.testing.assert_allclose(share_above(1.959964, found)[0], 0.025, rtol=1e-4)
    np.testing.assert_allclose(share_above(1.0, found)[1], 0.5)


def test_a_set_of_what_the_network_was_trained_on_covers_it_and_dull_pictures_do_not(tmp_path: Path) -> None:
    trained_on = pictures(48, seed=1)
    graph = read_graph(save(with_statistics(small_network(), seen_statistics(trained_on)), tmp_path / "student.onnx"))
    good = measure_layers(graph, trained_on[::2], trained_on[1::2], Quiet())
    dull = 100 + trained_on // 20  # next to no contrast
    bad = measure_layers(graph, dull[::2], dull[1::2], Quiet())
    assert [layer.layer for layer in good] == [layer.layer for layer in bad]
    assert not any("too narrow" in reason for layer in good for reason in layer.weaknesses)
    assert max(layer.expected for layer in bad) > 5 * UNCOVERED
    assert any("too narrow" in reason for layer in bad for reason in layer.weaknesses)


def test_saturation_is_the_share_beyond_the_range(tmp_path: Path) -> None:
    graph = read_graph(save(small_network(), tmp_path / "student.onnx"))
    calm, loud = 100 + pictures(16) // 20, pictures(8, seed=2)
    layers = measure_layers(graph, calm, loud, Quiet())
    model = fold(graph.model)
    for layer in layers:
        values = np.concatenate([v for (v,) in stream_tensors(model, loud, [layer.activation])])
        beyond = np.mean((values < layer.low) | (values > layer.high))
        assert layer.saturated == pytest.approx(beyond, rel=1e-5, abs=1e-9)
        assert layer.expected is None  # nothing is stored
    assert max(layer.saturated for layer in layers) > 0.01


def test_a_learned_range_is_judged_as_it_is(tmp_path: Path) -> None:
    model = small_network()
    reader = [node for node in model.graph.node if node.op_type == "Conv"][1]
    found = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, {**found, RANGES_KEY: pack_ranges({reader.name: (0.0, 0.01)})})
    layers = measure_layers(read_graph(save(model, tmp_path / "student.onnx")), pictures(16), pictures(4, 2), Quiet())
    (learned,) = [layer for layer in layers if layer.layer == reader.name]
    assert (learned.low, learned.high, learned.growth) == (0.0, 0.01, 0.0) and learned.saturated > 0.1
    assert all(layer.high > 0.01 for layer in layers if layer is not learned)


def test_ranges_that_still_grow_are_remarked_on() -> None:
    layer = LayerCoverage("conv", "t1", 0.0, 1.0, 0.0, 0.4, None)
    assert layer.weaknesses == ("still growing with the number of pictures",)
    assert LayerCoverage.from_json(layer.to_json()) == layer
