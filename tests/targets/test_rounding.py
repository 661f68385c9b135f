"""Learned rounding against rounding to the nearest, on pictures that neither saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from small_network import pictures, small_network

from calibration.progress import Quiet
from targets.layers import ConvLayer, Weights, conv_layers, replace_weights
from targets.moments import measure_moments, patches
from targets.nodes import inner
from targets.reference import exposing, fold
from targets.rounding import round_layer, round_layers


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return fold(small_network())


def inside(model: onnx.ModelProto) -> dict[str, ConvLayer]:
    names = {node.name for node in inner(model, frozenset({"Conv"}))}
    return {name: layer for name, layer in conv_layers(model).items() if name in names}


def tensors(model: onnx.ModelProto, names: list[str], images: np.ndarray) -> list[np.ndarray]:
    return ReferenceEvaluator(exposing(model, names)).run(names, {"image": images})


def test_patches_times_weights_are_the_convolution(model: onnx.ModelProto) -> None:
    images = pictures(2, seed=4)
    for layer in inside(model).values():
        source, output = tensors(model, [layer.source, layer.output], images)
        seen = patches(source, layer)  # few enough places that none is skipped
        rows = layer.weights.weight.reshape(layer.groups, -1, seen.shape[2])
        made = np.einsum("gpk,gok->gop", seen, rows).reshape(len(layer.weights.weight), -1)
        made += layer.weights.bias[:, None]
        np.testing.assert_allclose(made, output.transpose(1, 0, 2, 3).reshape(len(made), -1), atol=1e-4)


def test_moments_are_those_of_the_patches(model: onnx.ModelProto) -> None:
    images = pictures(5, seed=4)
    layers = inside(model)
    moments = measure_moments(model, layers, images, Quiet())
    for name, layer in layers.items():
        (source,) = tensors(model, [layer.source], images)
        seen = patches(source, layer).astype(np.float64)
        np.testing.assert_allclose(moments[name].mean, seen.mean(axis=1), atol=1e-5)
        for group, covariance in enumerate(moments[name].covariance):
            np.testing.assert_allclose(covariance, np.cov(seen[group].T, bias=True), atol=1e-4)


def errors(model: onnx.ModelProto, rounded: dict[str, Weights]) -> dict[str, float]:
    """Squared error of each layer's output on held-out pictures, with the float model's activations as input."""
    images = pictures(8, seed=77)
    found = {}
    for name, layer in inside(model).items():
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        replace_weights(changed, {name: rounded[name]})
        (exact,), (moved,) = (tensors(one, [layer.output], images) for one in (model, changed))
        found[name] = float(np.square(moved - exact).mean())
    return found


def test_learned_rounding_moves_every_layers_output_less(model: onnx.ModelProto) -> None:
    layers, images = inside(model), pictures(24)
    learned = errors(model, round_layers(model, layers, images, Quiet()))
    nearest = errors(model, round_layers(model, layers, images, Quiet(), learned=False))
    ratios = [learned[name] / nearest[name] for name in layers]
    assert max(ratios) < 1.1
    assert np.exp(np.mean(np.log(ratios))) < 0.8


def test_weights_lie_on_an_int8_grid_and_biases_keep_the_mean(model: onnx.ModelProto) -> None:
    layers, images = inside(model), pictures(24)
    for learned in (True, False):
        rounded = round_layers(model, layers, images, Quiet(), learned=learned)
        for name, layer in layers.items():
            codes = rounded[name].weight / rounded[name].scale[:, None, None, None]
            np.testing.assert_allclose(codes, np.round(codes), atol=1e-3)
            assert np.abs(codes).max() <= 127.001
            changed = onnx.ModelProto()
            changed.CopyFrom(model)
            replace_weights(changed, {name: rounded[name]})
            exact, moved = (tensors(one, [layer.output], images)[0].mean(axis=(0, 2, 3)) for one in (model, changed))
            np.testing.assert_allclose(moved, exact, atol=2e-3)


def test_a_channel_that_never_changes_does_not_keep_the_others_from_being_rounded_as_they_were(
    model: onnx.ModelProto,
) -> None:
    layer = next(layer for layer in inside(model).values() if layer.depthwise)
    moments = measure_moments(model, {layer.name: layer}, pictures(16), Quiet())[layer.name]
    expected = round_layer(layer, moments).weight
    covariance = moments.covariance.copy()
    covariance[3] = -1e-6  # no variance, but for what rounding left of it
    found = round_layer(layer, replace(moments, covariance=covariance)).weight
    others = np.arange(len(expected)) != 3
    np.testing.assert_array_equal(found[others], expected[others])
