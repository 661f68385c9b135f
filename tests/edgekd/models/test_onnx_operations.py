"""Every operation of the importer against onnxruntime, on batch sizes that the graph was not written for."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx_agreement import ORT_VERSION, agree, floats, ints, weights
from onnx_graphs import network, save

from calibration.errors import ModelError
from edgekd.models.onnx_import import import_onnx

ONE_NODE = {
    "conv": ("Conv", {"w": weights(4, 3, 3, 3), "b": weights(4)}, {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "conv depthwise": ("Conv", {"w": weights(6, 1, 3, 3)}, {"group": 3}),
    "conv dilated": ("Conv", {"w": weights(2, 3, 3, 3)}, {"dilations": [2, 1], "pads": [2, 1, 2, 1]}),
    "conv uneven pads": ("Conv", {"w": weights(2, 3, 3, 2)}, {"pads": [0, 1, 2, 0], "strides": [2, 1]}),
    "conv same upper": ("Conv", {"w": weights(2, 3, 3, 2)}, {"auto_pad": "SAME_UPPER", "strides": [2, 1]}),
    "conv same lower": ("Conv", {"w": weights(2, 3, 3, 2)}, {"auto_pad": "SAME_LOWER", "strides": [2, 1]}),
    "conv valid": ("Conv", {"w": weights(2, 3, 4, 3)}, {"auto_pad": "VALID"}),
    "transposed": (
        "ConvTranspose",
        {"w": weights(3, 2, 4, 4), "b": weights(2)},
        {"pads": [1] * 4, "strides": [2, 2]},
    ),
    "transposed uneven": (
        "ConvTranspose",
        {"w": weights(3, 1, 3, 3)},
        {"pads": [0, 0, 1, 1], "strides": [2, 2], "output_padding": [1, 0], "group": 3},
    ),
    "relu": ("Relu", {}, {}),
    "leaky": ("LeakyRelu", {}, {"alpha": 0.3}),
    "prelu": ("PRelu", {"w": weights(3, 1, 1)}, {}),
    "elu": ("Elu", {}, {"alpha": 0.7}),
    "sigmoid": ("Sigmoid", {}, {}),
    "leaky by default": ("LeakyRelu", {}, {}),
    "hard sigmoid by default": ("HardSigmoid", {}, {}),
    "hard sigmoid": ("HardSigmoid", {}, {"alpha": 0.3, "beta": 0.4}),
    "hard swish": ("HardSwish", {}, {}),
    "softplus": ("Softplus", {}, {}),
    "tanh": ("Tanh", {}, {}),
    "erf": ("Erf", {}, {}),
    "neg": ("Neg", {}, {}),
    "abs": ("Abs", {}, {}),
    "exp": ("Exp", {}, {}),
    "log": ("Log", {}, {}),
    "sqrt": ("Sqrt", {}, {}),
    "reciprocal": ("Reciprocal", {}, {}),
    "clip 0 6": ("Clip", {"low": floats(0).reshape(()), "high": floats(6).reshape(())}, {}),
    "clip": ("Clip", {"low": floats(0.2).reshape(()), "high": floats(0.6).reshape(())}, {}),
    "add": ("Add", {"c": weights(3, 1, 1)}, {}),
    "sub": ("Sub", {"c": weights(1, 3, 1, 16)}, {}),
    "mul": ("Mul", {"c": floats(2.5)}, {}),
    "div": ("Div", {"c": weights(3, 12, 16)}, {}),
    "pow": ("Pow", {"c": floats(2.0)}, {}),
    "max": ("Max", {"c": floats(0.4), "d": weights(3, 1, 1)}, {}),
    "min": ("Min", {"c": floats(0.4)}, {}),
    "sum": ("Sum", {"c": weights(3, 1, 1), "d": floats(1.0)}, {}),
    "max pool": ("MaxPool", {}, {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 0]}),
    "max pool uneven": ("MaxPool", {}, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
    "max pool ceil": ("MaxPool", {}, {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "max pool same": ("MaxPool", {}, {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "average pool": ("AveragePool", {}, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}),
    "average pool counting": (
        "AveragePool",
        {},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0], "count_include_pad": 1},
    ),
    "average pool uneven": ("AveragePool", {}, {"kernel_shape": [3, 3], "strides": [3, 2], "pads": [0, 1, 1, 0]}),
    "global average": ("GlobalAveragePool", {}, {}),
    "global max": ("GlobalMaxPool", {}, {}),
    "reduce mean": ("ReduceMean", {}, {"axes": [1], "keepdims": 1}),
    "reduce mean pixels": ("ReduceMean", {}, {"axes": [-1, -2], "keepdims": 0}),
    "reduce sum": ("ReduceSum", {"axes": ints(2)}, {"keepdims": 1}),
    "reduce l2": ("ReduceL2", {}, {"axes": [1], "keepdims": 1}),
    "reduce min": ("ReduceMin", {}, {"axes": [2, 3], "keepdims": 0}),
    "expand": ("Expand", {"s": ints(1, 3, 12, 16)}, {}),
    "selu": ("Selu", {}, {}),
    "selu settings": ("Selu", {}, {"alpha": 0.7, "gamma": 1.3}),
    "mean": ("Mean", {"c": weights(3, 1, 1), "d": floats(1.0)}, {}),
    "instance norm": ("InstanceNormalization", {"s": weights(3), "b": weights(3)}, {"epsilon": 1e-3}),
    "softmax": ("Softmax", {}, {"axis": 1}),
    "log softmax": ("LogSoftmax", {}, {"axis": 1}),
    "sine": ("Sin", {}, {}),
    "cosine": ("Cos", {}, {}),
    "sign": ("Sign", {}, {}),
    "round": ("Round", {}, {}),
    "floor": ("Floor", {}, {}),
    "ceil": ("Ceil", {}, {}),
    "celu": ("Celu", {}, {"alpha": 0.7}),
    "cumulative sum": ("CumSum", {"a": np.array(1)}, {}),
    "tile": ("Tile", {"r": ints(1, 2, 1, 3)}, {}),
    "space to depth": ("SpaceToDepth", {}, {"blocksize": 2}),
    "slice of all pictures": ("Slice", {"s": ints(0, 2), "e": ints(2**62, 9), "a": ints(0, 2)}, {}),
    "flatten": ("Flatten", {}, {}),
    "transpose": ("Transpose", {}, {"perm": [0, 2, 3, 1]}),
    "matmul": ("MatMul", {"w": weights(16, 5)}, {}),
    "matmul of each picture": ("MatMul", {"w": weights(1, 3, 16, 5)}, {}),
    "einsum": ("Einsum", {"w": weights(5, 3)}, {"equation": "bchw, oc -> bhow"}),
    "einsum, weighted": ("Einsum", {"w": weights(16, 3)}, {"equation": "bchw,wc->bwh"}),
    "einsum, no sum": ("Einsum", {"w": weights(3)}, {"equation": "bchw,c->bwhc"}),
    "unsqueeze": ("Unsqueeze", {"axes": ints(1, -1)}, {}),
    "slice": ("Slice", {"s": ints(1, 2), "e": ints(-1, 2**62), "a": ints(2, 3), "t": ints(1, 3)}, {}),
    "slice backwards": (
        "Slice",
        {"s": ints(-1, 14, 1), "e": ints(-(2**62), 2, 9), "a": ints(1, -1, 2), "t": ints(-1, -3, 2)},
        {},
    ),
    "gather": ("Gather", {"i": ints(2, 0, -1)}, {"axis": 1}),
    "gather one": ("Gather", {"i": np.array(1)}, {"axis": 1}),
    "pad": ("Pad", {"p": ints(0, 1, 2, 0, 0, 0, 1, 3), "v": floats(0.5).reshape(())}, {}),
    "pad reflect": ("Pad", {"p": ints(0, 0, 2, 0, 0, 0, 1, 3)}, {"mode": "reflect"}),
    "pad edge": ("Pad", {"p": ints(0, 0, 2, 1, 0, 0, 0, 3)}, {"mode": "edge"}),
    "pad crop": ("Pad", {"p": ints(0, 0, -2, 1, 0, 0, 0, -3)}, {}),
}


@pytest.mark.parametrize("case", ONE_NODE)
def test_an_operation_gives_what_onnxruntime_gives(case: str, tmp_path: Path) -> None:
    kind, constants, attributes = ONE_NODE[case]
    least = 0.01 if kind in ("Log", "Pow", "Reciprocal", "Sqrt") else -1.7
    model = network([helper.make_node(kind, ["x", *constants], ["y"], **attributes)], constants)
    agree(model, tmp_path, least=least)


@pytest.mark.parametrize("size", [(12, 16), (13, 15)])
@pytest.mark.parametrize("window", [(3, 2), (2, 2), (3, 3), (2, 3)])
@pytest.mark.parametrize("pads", [[0, 0, 1, 1], [1, 0, 0, 1]])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [("MaxPool", {}), ("AveragePool", {"count_include_pad": 0}), ("AveragePool", {"count_include_pad": 1})],
)
def test_windows_that_begin_behind_the_picture_are_no_windows(
    kind: str, settings: dict[str, int], pads: list[int], window: tuple[int, int], size: tuple[int, int], tmp_path: Path
) -> None:
    if ORT_VERSION < (1, 21):
        pytest.skip("onnxruntime before 1.21 has such windows")
    if settings.get("count_include_pad") and ORT_VERSION < (1, 26):
        pytest.skip("onnxruntime before 1.26 counts what lies behind the padding")
    kernel, stride = window
    node = helper.make_node(
        kind, ["x"], ["y"], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, ceil_mode=1, **settings
    )
    agree(network([node], {}, opset=19, size=size), tmp_path, size=size)


def test_a_group_norm_of_newer_opsets(tmp_path: Path) -> None:
    constants = {"w": weights(6, 3, 1, 1), "s": weights(6), "b": weights(6)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("GroupNormalization", ["c", "s", "b"], ["y"], num_groups=2, epsilon=1e-3),
    ]
    agree(network(nodes, constants, opset=21), tmp_path)


@pytest.mark.parametrize(
    ("constants", "settings"),
    [({"s": weights(16), "b": weights(16)}, {"epsilon": 1e-3}), ({"s": weights(12, 16)}, {"axis": -2})],
)
def test_a_layer_norm_with_and_without_a_bias(
    constants: dict[str, np.ndarray], settings: dict[str, Any], tmp_path: Path
) -> None:
    node = helper.make_node("LayerNormalization", ["x", *constants], ["y"], **settings)
    agree(network([node], constants, opset=17), tmp_path)


def test_a_pool_that_pads_unevenly_can_be_quantised(tmp_path: Path) -> None:
    """Padding need not be infinite where every window contains the edge that it reaches beyond."""
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    module = agree(network([node], {}), tmp_path)
    padded: list[torch.Tensor] = []
    for layer in module.modules():
        if "Pad" in type(layer).__name__:
            layer.register_forward_hook(lambda *seen: padded.append(seen[2]))
    module(torch.rand(1, 3, 12, 16))
    assert len(padded) == 1 and bool(padded[0].isfinite().all())


OLD = {
    "clip 6": ("Clip", 7, {"min": 0.1, "max": 0.5}),
    "pad 7": ("Pad", 7, {"pads": [0, 0, 1, 0, 0, 0, 2, 3], "value": 0.25}),
    "slice 7": ("Slice", 7, {"axes": [2, 3], "starts": [1, -5], "ends": [9, 100]}),
    "unsqueeze 7": ("Unsqueeze", 7, {"axes": [1]}),
    "softmax 7": ("Softmax", 7, {"axis": 2}),
    "softmax 7 by default": ("Softmax", 7, {}),
    "upsample nearest 7": ("Upsample", 7, {"mode": "nearest", "scales": [1.0, 1.0, 2.0, 3.0]}),
    "upsample linear 7": ("Upsample", 7, {"mode": "linear", "scales": [1.0, 1.0, 2.0, 2.0]}),
}


@pytest.mark.parametrize("case", OLD)
def test_old_opsets_keep_their_settings_in_attributes(case: str, tmp_path: Path) -> None:
    kind, opset, attributes = OLD[case]
    model = network([helper.make_node(kind, ["x"], ["y"], **attributes)], {}, opset=opset)
    model.ir_version = 4
    agree(model, tmp_path)


def test_two_tensors_meet(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Split", ["x", "sizes"], ["a", "b"], axis=1),
        helper.make_node("Concat", ["b", "a", "c"], ["joined"], axis=1),
        helper.make_node("DepthToSpace", ["joined"], ["big"], blocksize=2),
        helper.make_node("Dropout", ["big"], ["kept"]),
        helper.make_node("Identity", ["kept"], ["same"]),
        helper.make_node("GlobalAveragePool", ["same"], ["pooled"]),
        helper.make_node("Sub", ["one", "pooled"], ["gate"]),
        helper.make_node("Mul", ["same", "gate"], ["gated"]),
        helper.make_node("Squeeze", ["gated", "axis"], ["y"]),
    ]
    constants = {"sizes": ints(1, 2), "c": weights(1, 1, 12, 16), "one": floats(1), "axis": ints(1)}
    agree(network(nodes, constants, batch=1), tmp_path)


@pytest.mark.parametrize("kind", ["Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"])
def test_a_comparison_chooses_as_onnxruntime_does(kind: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Clip", ["x", "low", "high"], ["c"]),  # so that many values equal the bound
        helper.make_node(kind, ["c", "low"], ["yes"]),
        helper.make_node("Not", ["yes"], ["no"]),
        helper.make_node("Where", ["yes", "x", "per_channel"], ["a"]),
        helper.make_node("Where", ["no", "low", "x"], ["b"]),
        helper.make_node("Where", ["columns", "a", "b"], ["d"]),
        helper.make_node("Cast", ["yes"], ["e"], to=1),
        helper.make_node("Add", ["d", "e"], ["y"]),
    ]
    constants = {
        "low": floats(0.4).reshape(()), "high": floats(0.8).reshape(()), "per_channel": weights(3, 1, 1),
        "columns": np.arange(16) % 3 == 0,
    }  # fmt: skip
    agree(network(nodes, constants), tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_softplus_as_torchs_newer_exporter_writes_it(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    if "dynamic_shapes" not in inspect.signature(torch.onnx.export).parameters:
        pytest.skip("this torch has an early form of the newer exporter")
    path = tmp_path / "softplus.onnx"
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 3, padding=1), torch.nn.Softplus(beta=2.0, threshold=0.5))
    torch.onnx.export(net.eval(), (torch.rand(1, 3, 12, 16),), str(path), dynamo=True, input_names=["x"])
    model = onnx.load(path)
    assert "Where" in {node.op_type for node in model.graph.node}
    agree(model, tmp_path)


def test_mish(tmp_path: Path) -> None:
    nodes = [helper.make_node("Sub", ["x", "c"], ["d"]), helper.make_node("Mish", ["d"], ["y"])]
    agree(network(nodes, {"c": floats(0.5)}, opset=18), tmp_path)


def test_one_value_a_channel_is_spread(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[2, 3]),
        helper.make_node("Expand", ["m", "s"], ["y"]),
    ]
    agree(network(nodes, {"s": ints(1, 12, 16)}, batch=1), tmp_path)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("known", [True, False])
def test_features_are_looked_up_where_onnxruntime_looks_them_up(known: bool, mode: str, tmp_path: Path) -> None:
    places = np.random.default_rng(1).uniform(-1.2, 1.2, (1, 7, 9, 2)).astype(np.float32)
    nodes = [helper.make_node("GridSample", ["x", "g"], ["y"], mode=mode, padding_mode="border", align_corners=1)]
    constants = {"g": places}
    if not known:  # places that depend on the picture
        constants = {"p": places, "zero": floats(0.0)}
        nodes = [
            helper.make_node("ReduceMean", ["x"], ["m"], axes=[1, 2, 3]),
            helper.make_node("Mul", ["m", "zero"], ["none"]),
            helper.make_node("Add", ["none", "p"], ["g"]),
            *nodes,
        ]
    agree(network(nodes, constants, batch=1), tmp_path)


def test_a_comparison_counts_as_whole_numbers(tmp_path: Path) -> None:
    """As in ordinal regression, which counts the bins that a pixel lies beyond."""
    nodes = [
        helper.make_node("Greater", ["x", "half"], ["beyond"]),
        helper.make_node("Greater", ["x", "little"], ["some"]),
        helper.make_node("And", ["beyond", "some"], ["both"]),
        helper.make_node("Cast", ["both"], ["whole"], to=7),
        helper.make_node("ReduceSum", ["whole", "channels"], ["count"]),
        helper.make_node("Cast", ["count"], ["y"], to=1),
    ]
    agree(network(nodes, {"half": floats(0.5), "little": floats(0.2), "channels": ints(1)}), tmp_path)


def test_whole_numbers_of_the_picture_are_not_computed_with(tmp_path: Path) -> None:
    """A quotient of integers is rounded, but here integers would be floats."""
    nodes = [
        helper.make_node("Cast", ["x"], ["whole"], to=7),
        helper.make_node("Div", ["whole", "two"], ["half"]),
        helper.make_node("Cast", ["half"], ["y"], to=1),
    ]
    with pytest.raises(ModelError, match=r"Div\) computes with integers that depend on the picture"):
        import_onnx(save(network(nodes, {"two": ints(2)}), tmp_path / "net.onnx"))


def test_places_that_would_take_all_memory_are_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["g"]),
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("GridSample", ["c", "g"], ["y"]),
    ]
    constants = {"s": ints(1, 1000, 1000, 2), "w": weights(4096, 3, 1, 1)}
    with pytest.raises(ModelError, match=r"GridSample\) declares a result of shape \[1, 4096, 1000, 1000\]"):
        import_onnx(save(network(nodes, constants, batch=1), tmp_path / "net.onnx"))


@pytest.mark.parametrize(
    ("stated", "epsilon", "momentum"), [({}, 1e-5, 0.1), ({"epsilon": 0.3, "momentum": 0.8}, 0.3, 0.2)]
)
def test_a_norm_keeps_its_epsilon_and_the_share_that_new_pictures_have(
    stated: dict[str, float], epsilon: float, momentum: float, tmp_path: Path
) -> None:
    """ONNX states the share of what was stored before, torch that of what is new: a student cut out of it trains on."""
    constants = {"scale": weights(3), "shift": weights(3), "mean": weights(3), "var": floats(0.1, 0.5, 2)}
    node = helper.make_node("BatchNormalization", ["x", *constants], ["y"], **stated)
    module = agree(network([node], constants), tmp_path)
    (norm,) = [layer for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert (norm.eps, norm.momentum) == pytest.approx((epsilon, momentum))
