"""Weights that an ONNX file computes from constants, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from onnx_agreement import agree, ints, weights
from onnx_graphs import network, save

from calibration.errors import ModelError
from edgekd.models.onnx_import import import_onnx


def test_a_product_of_constants_is_computed(tmp_path: Path) -> None:
    """As spectral_norm leaves in a graph: the weights over their largest singular value."""
    nodes = [
        helper.make_node("MatMul", ["w", "v"], ["wv"]),
        helper.make_node("MatMul", ["u", "wv"], ["sigma"]),
        helper.make_node("Div", ["k", "sigma"], ["scaled"]),
        helper.make_node("Conv", ["x", "scaled"], ["y"], pads=[1] * 4),
    ]
    constants = {"w": weights(2, 27), "v": weights(27), "u": weights(2), "k": weights(2, 3, 3, 3)}
    agree(network(nodes, constants), tmp_path)


def test_a_product_that_no_network_needs_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["a", "b"], ["c"]), helper.make_node("Mul", ["x", "c"], ["y"])]
    constants = {"a": np.ones((1 << 13, 1), np.float32), "b": np.ones((1, 1 << 13), np.float32)}
    with pytest.raises(ModelError, match=r"MatMul\) declares a result of shape \[8192, 8192\]"):
        import_onnx(save(network(nodes, constants), tmp_path / "net.onnx"))


def test_weights_that_are_made_of_others_are_computed(tmp_path: Path) -> None:
    """Exporters leave gates, standardised weights and enlarged position embeddings in the graph."""
    nodes = [
        helper.make_node("ReduceMean", ["w"], ["mean"], axes=[1, 2, 3]),
        helper.make_node("Sub", ["w", "mean"], ["centred"]),
        helper.make_node("ReduceL2", ["centred"], ["size"], axes=[0, 2, 3]),
        helper.make_node("Div", ["centred", "size"], ["standard"]),
        helper.make_node("Conv", ["x", "standard"], ["c"], pads=[1] * 4),
        helper.make_node("Sigmoid", ["g"], ["gate"]),
        helper.make_node("Relu", ["f"], ["fusion"]),
        helper.make_node("Mul", ["gate", "fusion"], ["scale"]),
        helper.make_node("Mul", ["c", "scale"], ["scaled"]),
        helper.make_node("Resize", ["p", "", "", "sizes"], ["places"], mode="cubic"),
        helper.make_node("Add", ["scaled", "places"], ["d"]),
        helper.make_node("Range", ["zero", "columns", "one"], ["at"]),
        helper.make_node("Mul", ["d", "at"], ["y"]),
    ]
    constants = {
        "w": weights(4, 3, 3, 3), "g": weights(4, 1, 1), "f": weights(4, 1, 1), "p": weights(1, 4, 3, 4),
        "sizes": ints(1, 4, 12, 16), "zero": np.float32(0), "columns": np.float32(16), "one": np.float32(1),
    }  # fmt: skip
    agree(network(nodes, constants), tmp_path)


def test_weights_that_are_written_into_zeros_are_computed(tmp_path: Path) -> None:
    """As `weights[:, :, 0, 0] = 1` in the unpooling of FastDepth and FCRN."""
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ScatterND", ["zeros", "places", "ones"], ["kernels"]),
        helper.make_node("ConvTranspose", ["x", "kernels"], ["y"], strides=[2, 2], group=3),
    ]
    places = np.array([[channel, 0, 0, 0] for channel in range(3)])
    constants = {"shape": ints(3, 1, 2, 2), "places": places, "ones": np.ones(3, np.float32)}
    agree(network(nodes, constants), tmp_path)
