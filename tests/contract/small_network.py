"""A small hand-written depth network, like those the exporter makes of students, without torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from targets.input import Framing, InputSpec

HEIGHT, WIDTH = 32, 48
SPEC = InputSpec(Framing(HEIGHT, WIDTH), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def pictures(count: int, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Smooth pictures with a few edges, uint8 [count, height, width, 3]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    made = np.empty((count, height, width, 3), np.uint8)
    for index in range(count):
        slope = rng.uniform(-1, 1, (2, 3))
        picture = rng.uniform(0.2, 0.8, 3) + rows[..., None] * slope[0] + columns[..., None] * slope[1]
        for _ in range(4):
            top, left = rng.integers(0, height - 8), rng.integers(0, width - 8)
            picture[top : top + rng.integers(4, 20), left : left + rng.integers(4, 20)] = rng.uniform(0, 1, 3)
        made[index] = np.clip(picture * 255, 0, 255).astype(np.uint8)
    return made


class Network:
    """Collects nodes one after the other; weights are random but reproducible."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(5)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: object, dtype: type = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def add(self, kind: str, inputs: list[str], **attributes: object) -> str:
        output = f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, inputs, [output], name=f"{kind.lower()}{len(self.nodes)}", **attributes)
        )
        return output

    def conv(self, x: str, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> str:
        shape = (outputs, inputs // groups, kernel, kernel)
        deviation = np.sqrt(2 / (shape[1] * kernel * kernel))
        weight = self.constant(f"w{len(self.nodes)}", self.rng.normal(0, deviation, shape))
        bias = self.constant(f"b{len(self.nodes)}", self.rng.normal(0, 0.1, outputs))
        pads = [kernel // 2] * 4
        return self.add("Conv", [x, weight, bias], kernel_shape=[kernel, kernel], strides=[stride] * 2, pads=pads,
                        group=groups)  # fmt: skip


def small_network(gain: float = 0.15, offset: float = 0.7) -> onnx.ModelProto:
    """Normalisation, two strided convolutions, a residual block with a depthwise convolution, upsampling, exp head.

    `gain` and `offset` set the last layer: depth is exp(gain * features + offset).
    """
    net = Network()
    floats = net.add("Cast", ["image"], to=TensorProto.FLOAT)
    channels_first = net.add("Transpose", [floats], perm=[0, 3, 1, 2])
    mean = net.constant("mean", np.reshape(SPEC.mean, (1, 3, 1, 1)) * np.float32(255))
    scale = net.constant("scale", 1 / (255 * np.reshape(SPEC.std, (1, 3, 1, 1))))
    x = net.add("Mul", [net.add("Sub", [channels_first, mean]), scale])
    x = net.add("Relu", [net.conv(x, 3, 8, 3, stride=2)])
    skip = x = net.add("Relu", [net.conv(x, 8, 16, 3, stride=2)])
    x = net.add("Relu", [net.conv(x, 16, 16, 3, groups=16)])
    x = net.conv(x, 16, 16, 1)
    x = net.add("Add", [skip, x])
    scales = net.constant("scales", [1, 1, 4, 4])
    x = net.add("Relu", [net.conv(x, 16, 8, 1)])
    x = net.add("Resize", [x, "", scales], mode="nearest", coordinate_transformation_mode="asymmetric",
                nearest_mode="floor")  # fmt: skip
    weight = net.constant("head", gain * net.rng.normal(0, 0.3, (1, 8, 1, 1)))
    x = net.add("Conv", [x, weight, net.constant("head_bias", [offset])], kernel_shape=[1, 1])
    x = net.add("Exp", [x])
    net.nodes.append(helper.make_node("Squeeze", [x, net.constant("axis", [1], np.int64)], ["depth"], name="squeeze"))
    return finish(net.nodes, net.constants)


def finish(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> onnx.ModelProto:
    """A model of opset 17 with the names, types and metadata that edgekd's exporter writes."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", HEIGHT, WIDTH, 3])
    depth = helper.make_tensor_value_info("depth", TensorProto.FLOAT, ["N", HEIGHT, WIDTH])
    graph = helper.make_graph(nodes, "small", [image], [depth], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"edgekd.input": json.dumps(SPEC.to_json())})
    onnx.checker.check_model(model, full_check=True)
    return model


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def reference_depth(model: onnx.ModelProto, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Depth from onnx's own evaluator, which shares no code with any runtime."""
    from onnx.reference import ReferenceEvaluator

    depth: NDArray[np.float32] = ReferenceEvaluator(model).run(["depth"], {"image": images})[0]
    return depth
