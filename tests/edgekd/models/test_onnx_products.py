"""Sums of products in an ONNX file (matrices, Einsum, convolutions of sequences) against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnx_agreement import agree, ints, weights
from onnx_graphs import network, save

from calibration.errors import ModelError
from edgekd.models.onnx_import import import_onnx


def test_gemm(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1, alpha=0.5, beta=2.0),
    ]
    agree(network(nodes, {"w": weights(5, 3), "b": weights(5)}), tmp_path)


def test_a_sum_of_products_as_over_bins(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Softmax", ["x"], ["shares"], axis=1),
        helper.make_node("ReduceMean", ["x"], ["centres"], axes=[2, 3], keepdims=0),
        helper.make_node("Einsum", ["shares", "centres"], ["y"], equation="bnhw,bn->bhw"),
    ]
    agree(network(nodes, {}), tmp_path)


@pytest.mark.parametrize(
    ("equation", "reason"),
    [
        ("bchw->chw", "mixes the pictures of a batch"),
        ("bchw->cbhw", "mixes the pictures of a batch"),
        ("bbhw->bhw", "mixes the pictures of a batch"),
        ("...w->...", "does not name each axis"),
        ("bchw", "does not name each axis"),
        ("bch->bc", "does not name each axis"),
    ],
)
def test_a_sum_of_products_over_a_batch_is_refused(equation: str, reason: str, tmp_path: Path) -> None:
    model = network([helper.make_node("Relu", ["x"], ["y"])], {})
    model.graph.node[0].CopyFrom(helper.make_node("Einsum", ["x"], ["y"], equation=equation))
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=reason):
        import_onnx(path)


def test_a_sum_of_products_that_would_take_all_memory_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Einsum", ["x", "u", "v"], ["y"], equation="bchw,u,v->b")
    constants = {"u": np.ones(1 << 12, np.float32), "v": np.ones(1 << 12, np.float32)}
    with pytest.raises(ModelError, match=r"Einsum\) declares a result of shape \[1, 3, 12, 16, 4096, 4096\]"):
        import_onnx(save(network([node], constants), tmp_path / "net.onnx"))


@pytest.mark.parametrize(
    ("channels", "settings"),
    [(3, {"pads": [2, 2]}), (1, {"group": 3, "strides": [2], "dilations": [3]}), (3, {"auto_pad": "VALID"})],
)
def test_a_convolution_of_sequences(channels: int, settings: dict[str, Any], tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "rows"], ["sequence"]),
        helper.make_node("Conv", ["sequence", "w", "b"], ["y"], **settings),
    ]
    agree(network(nodes, {"rows": ints(0, 3, -1), "w": weights(6, channels, 5), "b": weights(6)}), tmp_path)
