"""Graphs that TensorRT accepts and graphs that it refuses, each differing from a small network in one thing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

H, W = 16, 24
GRAPHS: dict[str, Callable[[], onnx.ModelProto]] = {}


class Graph:
    """Image in, a convolution, whatever a case adds, depth out."""

    def __init__(self, opset: int = 17) -> None:
        self.rng = np.random.default_rng(0)
        self.opset, self.domains = opset, [""]
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.image_type = TensorProto.UINT8
        self.x = self.add("Transpose", [self.add("Cast", ["image"], to=TensorProto.FLOAT)], perm=[0, 3, 1, 2])
        self.x = self.conv(self.x, 3, 4)

    def const(self, values: object, dtype: object = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def add(self, kind: str, inputs: list[str], outputs: int = 1, **attributes: object) -> str:
        names = [f"t{len(self.nodes)}_{n}" for n in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=f"{kind.lower()}{len(self.nodes)}", **attributes))
        return names[0]

    def conv(self, x: str, inputs: int, outputs: int, weight: str | None = None, bias: str | None = None) -> str:
        weight = weight or self.const(self.rng.normal(0, 0.2, (outputs, inputs, 3, 3)))
        return self.add("Conv", [x, weight, *([bias] if bias else [])], kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    def quantised(
        self, x: str, zero: int = 0, dtype: object = np.int8, scale: object = 0.05, axis: int | None = None
    ) -> str:
        more = {} if axis is None else {"axis": axis}
        shape = np.shape(scale)
        pair = [self.const(scale), self.const(np.full(shape, zero), dtype)]
        return self.add("DequantizeLinear", [self.add("QuantizeLinear", [x, *pair], **more), *pair], **more)

    def model(self) -> onnx.ModelProto:
        head = self.conv(self.x, 4, 1)
        self.nodes.append(helper.make_node("Squeeze", [head, self.const([1], np.int64)], ["depth"], name="squeeze"))
        image = helper.make_tensor_value_info("image", self.image_type, ["N", H, W, 3])
        depth = helper.make_tensor_value_info("depth", TensorProto.FLOAT, ["N", None, None])
        graph = helper.make_graph(self.nodes, "case", [image], [depth], self.constants)
        opsets = [helper.make_opsetid(domain, self.opset if not domain else 1) for domain in self.domains]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def case(make: Callable[[], onnx.ModelProto]) -> Callable[[], onnx.ModelProto]:
    GRAPHS[make.__name__] = make
    return make


def unary(name: str, kind: str, opset: int = 17, **attributes: object) -> None:
    def make() -> onnx.ModelProto:
        graph = Graph(opset)
        graph.x = graph.add(kind, [graph.x], **attributes)
        return graph.model()

    GRAPHS[name] = make


unary("relu", "Relu")
unary("hard_swish", "HardSwish")
unary("sigmoid", "Sigmoid")
unary("exp", "Exp")
unary("softplus", "Softplus")
unary("global_pool_and_broadcast", "Softmax", axis=1)
unary("leaky", "LeakyRelu", alpha=0.1)
unary("elu", "Elu")
unary("mish_of_opset_18", "Mish", opset=18)
unary("gelu_of_opset_20", "Gelu", opset=20)
unary("lp_norm", "LpNormalization")
unary("hardmax", "Hardmax", axis=1)
unary("det", "Identity")
unary("shrink", "Shrink")
unary("opset_13", "Relu", opset=13)
unary("opset_20", "Relu", opset=20)
unary("opset_21", "Relu", opset=21)
unary("opset_23", "Relu", opset=23)
unary("opset_25", "Relu", opset=25)
unary("opset_26", "Relu", opset=26)


@case
def residual() -> onnx.ModelProto:
    g = Graph()
    g.x = g.add("Add", [g.x, g.conv(g.x, 4, 4)])
    return g.model()


@case
def group_norm_of_opset_21() -> onnx.ModelProto:
    g = Graph(21)
    g.x = g.add("GroupNormalization", [g.x, g.const(np.ones(4)), g.const(np.zeros(4))], num_groups=2)
    return g.model()


@case
def layer_norm() -> onnx.ModelProto:
    g = Graph()
    g.x = g.add("LayerNormalization", [g.x, g.const(np.ones(W)), g.const(np.zeros(W))], axis=-1)
    return g.model()


@case
def batch_norm() -> onnx.ModelProto:
    g = Graph()
    ones = [g.const(np.ones(4)) for _ in range(4)]
    g.x = g.add("BatchNormalization", [g.x, *ones])
    return g.model()


def resized(name: str, opset: int = 17, **attributes: object) -> None:
    def make() -> onnx.ModelProto:
        g = Graph(opset)
        g.x = g.add("Resize", [g.x, "", g.const([1, 1, 2, 2])], **attributes)
        return g.model()

    GRAPHS[name] = make


resized("resize_nearest", mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
resized("resize_linear", mode="linear", coordinate_transformation_mode="half_pixel")
resized("resize_align_corners", mode="linear", coordinate_transformation_mode="align_corners")
resized("resize_cubic", mode="cubic", coordinate_transformation_mode="half_pixel")
resized("resize_antialiased", opset=18, mode="linear", antialias=1)
resized("resize_crop", mode="linear", coordinate_transformation_mode="pytorch_half_pixel")


@case
def resize_tf_crop() -> onnx.ModelProto:
    g = Graph()
    roi = g.const([0, 0, 0, 0, 1, 1, 1, 1])
    g.x = g.add("Resize", [g.x, roi, g.const([1, 1, 2, 2])], mode="linear",
                coordinate_transformation_mode="tf_crop_and_resize")  # fmt: skip
    return g.model()


@case
def conv_transpose() -> onnx.ModelProto:
    g = Graph()
    g.x = g.add("ConvTranspose", [g.x, g.const(np.ones((4, 4, 2, 2)))], strides=[2, 2], kernel_shape=[2, 2])
    return g.model()


@case
def grid_sample() -> onnx.ModelProto:
    g = Graph()
    shape = g.add("Shape", [g.x], start=0, end=1)
    rest = g.const([H, W, 2], np.int64)
    grid = g.add("Expand", [g.const(np.zeros((1, H, W, 2))), g.add("Concat", [shape, rest], axis=0)])
    g.x = g.add("GridSample", [g.x, grid])
    return g.model()


@case
def max_pool_with_indices() -> onnx.ModelProto:
    g = Graph()
    g.x = g.add("MaxPool", [g.x], outputs=2, kernel_shape=[2, 2], strides=[2, 2])
    indices = g.add("Cast", [g.nodes[-1].output[1]], to=TensorProto.FLOAT)
    g.x = g.add("Add", [g.x, indices])
    return g.model()


@case
def max_pool() -> onnx.ModelProto:
    g = Graph()
    g.x = g.add("MaxPool", [g.x], kernel_shape=[2, 2], strides=[2, 2])
    return g.model()


@case
def q_dq() -> onnx.ModelProto:
    g = Graph()
    weight = g.quantised(g.const(g.rng.normal(0, 0.2, (4, 4, 3, 3))), scale=np.full(4, 0.01), axis=0)
    g.x = g.conv(g.quantised(g.x), 4, 4, weight)
    return g.model()


@case
def q_dq_weight_as_int8() -> onnx.ModelProto:
    g = Graph()
    stored = g.const(g.rng.integers(-127, 127, (4, 4, 3, 3)), np.int8)
    weight = g.add("DequantizeLinear", [stored, g.const(np.full(4, 0.01)), g.const(np.zeros(4), np.int8)], axis=0)
    g.x = g.conv(g.quantised(g.x), 4, 4, weight)
    return g.model()


@case
def q_dq_with_zero_point() -> onnx.ModelProto:
    g = Graph()
    g.x = g.conv(g.quantised(g.x, zero=3), 4, 4)
    return g.model()


@case
def q_dq_of_uint8() -> onnx.ModelProto:
    g = Graph()
    g.x = g.conv(g.quantised(g.x, dtype=np.uint8), 4, 4)
    return g.model()


@case
def q_dq_of_uint8_with_zero_point() -> onnx.ModelProto:
    g = Graph()
    g.x = g.conv(g.quantised(g.x, zero=128, dtype=np.uint8), 4, 4)
    return g.model()


@case
def q_dq_of_int16() -> onnx.ModelProto:
    g = Graph(21)
    g.x = g.conv(g.quantised(g.x, dtype=np.int16), 4, 4)
    return g.model()


@case
def bias_of_int32() -> onnx.ModelProto:
    g = Graph()
    bias = g.add("DequantizeLinear", [g.const([1, 2, 3, 4], np.int32), g.const(np.float32(0.01))])
    g.x = g.conv(g.quantised(g.x), 4, 4, None, bias)
    return g.model()


@case
def scale_of_zero() -> onnx.ModelProto:
    g = Graph()
    g.x = g.conv(g.quantised(g.x, scale=0.0), 4, 4)
    return g.model()


@case
def scale_below_zero() -> onnx.ModelProto:
    g = Graph()
    g.x = g.conv(g.quantised(g.x, scale=-0.1), 4, 4)
    return g.model()


@case
def scale_that_is_computed() -> onnx.ModelProto:
    g = Graph()
    peak = g.add("ReduceMax", [g.x], keepdims=0)
    zero = g.const(np.int8(0), np.int8)
    scale = g.add("Div", [peak, g.const(np.float32(127))])
    g.x = g.conv(g.add("DequantizeLinear", [g.add("QuantizeLinear", [g.x, scale, zero]), scale, zero]), 4, 4)
    return g.model()


@case
def dynamic_quantisation() -> onnx.ModelProto:
    g = Graph()
    g.x = g.add("DynamicQuantizeLinear", [g.x], outputs=3)
    names = list(g.nodes[-1].output)
    g.x = g.add("DequantizeLinear", names)
    return g.model()


@case
def qlinear_conv() -> onnx.ModelProto:
    g = Graph()
    zero, scale = g.const(np.int8(0), np.int8), g.const(np.float32(0.05))
    x = g.add("QuantizeLinear", [g.x, scale, zero])
    weight = g.const(g.rng.integers(-9, 9, (4, 4, 3, 3)), np.int8)
    y = g.add("QLinearConv", [x, scale, zero, weight, scale, zero, scale, zero], pads=[1, 1, 1, 1])
    g.x = g.add("DequantizeLinear", [y, scale, zero])
    return g.model()


@case
def custom_operator() -> onnx.ModelProto:
    g = Graph()
    g.domains.append("com.microsoft")
    g.x = g.add("BiasGelu", [g.x, g.const(np.zeros(W))], domain="com.microsoft")
    return g.model()


@case
def unknown_operator() -> onnx.ModelProto:
    g = Graph()
    g.x = g.add("Depthify", [g.x])
    return g.model()


@case
def half_precision() -> onnx.ModelProto:
    g = Graph()
    half = g.add("Cast", [g.x], to=TensorProto.FLOAT16)
    half = g.add("Conv", [half, g.const(g.rng.normal(0, 0.2, (4, 4, 3, 3)), np.float16)], kernel_shape=[3, 3],
                 pads=[1, 1, 1, 1])  # fmt: skip
    g.x = g.add("Cast", [half], to=TensorProto.FLOAT)
    return g.model()


@case
def half_added_to_float() -> onnx.ModelProto:
    g = Graph()
    g.x = g.add("Cast", [g.add("Add", [g.add("Cast", [g.x], to=TensorProto.FLOAT16), g.x])], to=TensorProto.FLOAT)
    return g.model()


@case
def half_with_float_weights() -> onnx.ModelProto:
    g = Graph()
    g.x = g.add("Cast", [g.conv(g.add("Cast", [g.x], to=TensorProto.FLOAT16), 4, 4)], to=TensorProto.FLOAT)
    return g.model()


@case
def double_precision() -> onnx.ModelProto:
    g = Graph()
    doubled = g.add("Mul", [g.add("Cast", [g.x], to=TensorProto.DOUBLE), g.const(2.0, np.float64)])
    g.x = g.add("Cast", [doubled], to=TensorProto.FLOAT)
    return g.model()


@case
def bfloat16() -> onnx.ModelProto:
    g = Graph()
    g.x = g.add("Cast", [g.add("Cast", [g.x], to=TensorProto.BFLOAT16)], to=TensorProto.FLOAT)
    return g.model()


@case
def uint8_inside() -> onnx.ModelProto:
    g = Graph()
    g.x = g.add("Cast", [g.add("Cast", [g.x], to=TensorProto.UINT8)], to=TensorProto.FLOAT)
    return g.model()


@case
def uint8_transposed_before_the_cast() -> onnx.ModelProto:
    g = Graph()
    other = g.add("Cast", [g.add("Transpose", ["image"], perm=[0, 3, 1, 2])], to=TensorProto.FLOAT)
    g.x = g.add("Add", [g.x, g.conv(other, 3, 4)])
    return g.model()


@case
def uint8_subtracted() -> onnx.ModelProto:
    g = Graph()
    less = g.add("Cast", [g.add("Sub", ["image", g.const(np.uint8(1), np.uint8)])], to=TensorProto.FLOAT)
    g.x = g.add("Add", [g.x, g.conv(g.add("Transpose", [less], perm=[0, 3, 1, 2]), 3, 4)])
    return g.model()


@case
def int16_inside() -> onnx.ModelProto:
    g = Graph()
    g.x = g.add("Cast", [g.add("Cast", [g.x], to=TensorProto.INT16)], to=TensorProto.FLOAT)
    return g.model()


@case
def int64_inside() -> onnx.ModelProto:
    g = Graph()
    g.x = g.add("Cast", [g.add("Cast", [g.x], to=TensorProto.INT64)], to=TensorProto.FLOAT)
    return g.model()


@case
def nonzero() -> onnx.ModelProto:
    g = Graph()
    where = g.add("Cast", [g.add("ReduceSum", [g.add("NonZero", [g.x])], keepdims=0)], to=TensorProto.FLOAT)
    g.x = g.add("Add", [g.x, where])
    return g.model()


@case
def unique() -> onnx.ModelProto:
    g = Graph()
    total = g.add("ReduceSum", [g.add("Unique", [g.x])], keepdims=0)
    g.x = g.add("Add", [g.x, total])
    return g.model()


@case
def weight_that_is_computed() -> onnx.ModelProto:
    g = Graph()
    weight = g.add("Mul", [g.const(g.rng.normal(0, 0.2, (4, 4, 3, 3))), g.add("ReduceMean", [g.x], keepdims=0)])
    g.x = g.conv(g.x, 4, 4, weight)
    return g.model()


@case
def random_noise() -> onnx.ModelProto:
    g = Graph()
    g.x = g.add("Add", [g.x, g.add("RandomNormalLike", [g.x])])
    return g.model()


@case
def sequence() -> onnx.ModelProto:
    g = Graph()
    g.x = g.add("SequenceAt", [g.add("SequenceConstruct", [g.x, g.x]), g.const(0, np.int64)])
    return g.model()


@case
def pad_reflect() -> onnx.ModelProto:
    g = Graph()
    g.x = g.add("Pad", [g.x, g.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64)], mode="reflect")
    return g.model()


@case
def pad_wrap_of_opset_19() -> onnx.ModelProto:
    g = Graph(19)
    g.x = g.add("Pad", [g.x, g.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64)], mode="wrap")
    return g.model()


@case
def a_string() -> onnx.ModelProto:
    g = Graph()
    text = g.add("Cast", [g.x], to=TensorProto.STRING)
    g.x = g.add("Cast", [text], to=TensorProto.FLOAT)
    return g.model()
