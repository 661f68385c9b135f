"""Parsers of networks, with corpora made by code: ONNX, weights, statistics, and what input a teacher expects."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from corpus import write_file

from calibration.errors import EdgekdError
from calibration.progress import Quiet

__all__ = [
    "INPUT",
    "network_corpus",
    "read_checkpoint",
    "read_graph",
    "read_input",
    "read_onnx",
    "read_preflight",
    "read_statistics",
    "read_weights",
    "safetensors",
    "state_dicts_corpus",
    "statistics_corpus",
    "student_corpus",
]


def network_corpus() -> list[bytes]:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def model(nodes: list[Any], constants: dict[str, Any]) -> bytes:
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1, 8, 8])],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        made: bytes = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
        ).SerializeToString()
        return made

    weights = {"w": np.ones((1, 3, 3, 3), np.float32), "b": np.ones(1, np.float32)}
    conv = helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1])
    sizes = {"s": np.array([2], np.int64), "e": np.array([1, 1, 8, 8], np.int64)}
    chain = [
        conv,
        helper.make_node("ConstantOfShape", ["e"], ["f"]),
        helper.make_node("Add", ["c", "f"], ["y"]),
    ]
    resize = [
        helper.make_node("MaxPool", ["x"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Resize", ["c", "", "k"], ["y"], mode="nearest"),
    ]
    scales = {"k": np.array([1, 1, 2, 2], np.float32)}
    external = onnx.load_model_from_string(model([conv, helper.make_node("Relu", ["c"], ["y"])], weights))
    tensor = external.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../w.bin"
    return [
        model([conv, helper.make_node("Relu", ["c"], ["y"])], weights),
        model(chain, weights | sizes),
        model(resize, weights | scales),
        external.SerializeToString(),
    ]


def read_onnx(folder: Path, data: bytes) -> None:
    from edgekd.models.onnx_import import import_onnx

    import_onnx(write_file(folder, "net.onnx", data))


def read_preflight(folder: Path, data: bytes) -> None:
    from edgekd.steps.preflight import preflight_models

    preflight_models([str(write_file(folder, "net.onnx", data))], Quiet())


def student_corpus() -> list[bytes]:
    import sys

    sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "contract"))
    from small_network import small_network

    model: bytes = small_network().SerializeToString()
    return [model]


def read_graph(folder: Path, data: bytes) -> None:
    from targets.graph import read_graph

    read_graph(write_file(folder, "student.onnx", data))


def state_dicts_corpus() -> list[bytes]:
    import torch

    made = []
    for held in ({"w": torch.ones(2, 2)}, {"state_dict": {"w": torch.ones(3), "n": torch.tensor(1)}, "epoch": 3}):
        for zipped in (True, False):
            buffer = io.BytesIO()
            torch.save(held, buffer, _use_new_zipfile_serialization=zipped)
            made.append(buffer.getvalue())
    return made


def read_checkpoint(folder: Path, data: bytes) -> None:
    from edgekd.models.from_checkpoint import _load_pickled

    _load_pickled(write_file(folder, "net.pt", data), Quiet())


def safetensors(described: dict[str, Any], key: str) -> bytes:
    import torch
    from safetensors.torch import save

    from edgekd.models.weights import tensors_digest

    tensors = {"0.mean": torch.ones(2), "0.variance": torch.ones(2)}
    return bytes(save(tensors, metadata={key: json.dumps({**described, "weights": tensors_digest(tensors)})}))


INPUT = {
    "framing": {"height": 8, "width": 8, "resize_height": None, "crop": None},
    "mean": [0.5, 0.5, 0.5],
    "std": [0.2, 0.2, 0.2],
}


def read_weights(folder: Path, data: bytes) -> None:
    from calibration.weights import weights_fault
    from edgekd.models.weights import load_weights

    path = write_file(folder, "net.safetensors", data)
    for read in (weights_fault, load_weights):
        try:
            read(path)
        except EdgekdError:
            continue


def read_statistics(folder: Path, data: bytes) -> None:
    from edgekd.distill.statistics_file import StatisticsFile

    StatisticsFile.read(write_file(folder, "s.safetensors", data))


def statistics_corpus() -> list[bytes]:
    described = {"teacher": "t", "digest": "0" * 64, "pictures": 20, "layers": ["a"]}
    return [safetensors(described, "edgekd.statistics")]


def read_input(folder: Path, data: bytes) -> None:
    from edgekd.models.input_file import stated_input

    write_file(folder, "net.onnx.input.json", data)
    stated_input(folder / "net.onnx")
