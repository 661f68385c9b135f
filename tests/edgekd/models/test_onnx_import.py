"""Every operation of the importer against onnxruntime, on batches that the graph was not written for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from onnx_graphs import conv_norm, network, save
from torch.nn import functional as F

from calibration.errors import ModelError
from edgekd.models.onnx_import import import_onnx

DRAW = np.random.default_rng(7)


def _weights(*shape: int) -> np.ndarray:
    return DRAW.normal(size=shape).astype(np.float32)


def _ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def _floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def _agree(model: Any, folder: Path, *, size: tuple[int, int] = (12, 16), atol: float = 1e-5) -> torch.nn.Module:
    """The import gives for two pictures together what onnxruntime gives for each alone."""
    path = save(model, folder / "net.onnx")
    pictures = np.random.default_rng(3).uniform(0.01, 1, (2, 3, *size)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a waiting thread of onnxruntime's spins, and other tests want the core
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    expected = np.concatenate([session.run(None, {"x": picture[None]})[0] for picture in pictures])
    module = import_onnx(path).module
    got = module(torch.from_numpy(pictures))
    assert tuple(got.shape) == expected.shape
    np.testing.assert_allclose(got.numpy(), expected, atol=atol, rtol=1e-4)
    return module


ONE_NODE = {
    "conv": ("Conv", {"w": _weights(4, 3, 3, 3), "b": _weights(4)}, {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "conv depthwise": ("Conv", {"w": _weights(6, 1, 3, 3)}, {"group": 3}),
    "conv dilated": ("Conv", {"w": _weights(2, 3, 3, 3)}, {"dilations": [2, 1], "pads": [2, 1, 2, 1]}),
    "conv uneven pads": ("Conv", {"w": _weights(2, 3, 3, 2)}, {"pads": [0, 1, 2, 0], "strides": [2, 1]}),
    "conv same upper": ("Conv", {"w": _weights(2, 3, 4, 3)}, {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    "conv same lower": ("Conv", {"w": _weights(2, 3, 4, 3)}, {"auto_pad": "SAME_LOWER", "strides": [2, 3]}),
    "conv valid": ("Conv", {"w": _weights(2, 3, 4, 3)}, {"auto_pad": "VALID"}),
    "transposed": (
        "ConvTranspose",
        {"w": _weights(3, 2, 4, 4), "b": _weights(2)},
        {"pads": [1] * 4, "strides": [2, 2]},
    ),
    "transposed uneven": (
        "ConvTranspose",
        {"w": _weights(3, 1, 3, 3)},
        {"pads": [0, 0, 1, 1], "strides": [2, 2], "output_padding": [1, 0], "group": 3},
    ),
    "relu": ("Relu", {}, {}),
    "leaky": ("LeakyRelu", {}, {"alpha": 0.3}),
    "prelu": ("PRelu", {"w": _weights(3, 1, 1)}, {}),
    "elu": ("Elu", {}, {"alpha": 0.7}),
    "sigmoid": ("Sigmoid", {}, {}),
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
    "clip 0 6": ("Clip", {"low": _floats(0).reshape(()), "high": _floats(6).reshape(())}, {}),
    "clip": ("Clip", {"low": _floats(0.2).reshape(()), "high": _floats(0.6).reshape(())}, {}),
    "add": ("Add", {"c": _weights(3, 1, 1)}, {}),
    "sub": ("Sub", {"c": _weights(1, 3, 1, 16)}, {}),
    "mul": ("Mul", {"c": _floats(2.5)}, {}),
    "div": ("Div", {"c": _weights(3, 12, 16)}, {}),
    "pow": ("Pow", {"c": _floats(2.0)}, {}),
    "max": ("Max", {"c": _floats(0.4), "d": _weights(3, 1, 1)}, {}),
    "min": ("Min", {"c": _floats(0.4)}, {}),
    "sum": ("Sum", {"c": _weights(3, 1, 1), "d": _floats(1.0)}, {}),
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
    "reduce sum": ("ReduceSum", {"axes": _ints(2)}, {"keepdims": 1}),
    "reduce l2": ("ReduceL2", {}, {"axes": [1], "keepdims": 1}),
    "reduce min": ("ReduceMin", {}, {"axes": [2, 3], "keepdims": 0}),
    "expand": ("Expand", {"s": _ints(1, 3, 12, 16)}, {}),
    "selu": ("Selu", {}, {}),
    "selu settings": ("Selu", {}, {"alpha": 0.7, "gamma": 1.3}),
    "mean": ("Mean", {"c": _weights(3, 1, 1), "d": _floats(1.0)}, {}),
    "instance norm": ("InstanceNormalization", {"s": _weights(3), "b": _weights(3)}, {"epsilon": 1e-3}),
    "softmax": ("Softmax", {}, {"axis": 1}),
    "flatten": ("Flatten", {}, {}),
    "transpose": ("Transpose", {}, {"perm": [0, 2, 3, 1]}),
    "matmul": ("MatMul", {"w": _weights(16, 5)}, {}),
    "unsqueeze": ("Unsqueeze", {"axes": _ints(1, -1)}, {}),
    "slice": ("Slice", {"s": _ints(1, 2), "e": _ints(-1, 2**62), "a": _ints(2, 3), "t": _ints(1, 3)}, {}),
    "slice backwards": (
        "Slice",
        {"s": _ints(-1, 14, 1), "e": _ints(-(2**62), 2, 9), "a": _ints(1, -1, 2), "t": _ints(-1, -3, 2)},
        {},
    ),
    "gather": ("Gather", {"i": _ints(2, 0, -1)}, {"axis": 1}),
    "gather one": ("Gather", {"i": np.array(1)}, {"axis": 1}),
    "pad": ("Pad", {"p": _ints(0, 1, 2, 0, 0, 0, 1, 3), "v": _floats(0.5).reshape(())}, {}),
    "pad reflect": ("Pad", {"p": _ints(0, 0, 2, 0, 0, 0, 1, 3)}, {"mode": "reflect"}),
    "pad edge": ("Pad", {"p": _ints(0, 0, 2, 1, 0, 0, 0, 3)}, {"mode": "edge"}),
    "pad crop": ("Pad", {"p": _ints(0, 0, -2, 1, 0, 0, 0, -3)}, {}),
}


@pytest.mark.parametrize("case", ONE_NODE)
def test_an_operation_gives_what_onnxruntime_gives(case: str, tmp_path: Path) -> None:
    kind, constants, attributes = ONE_NODE[case]
    _agree(network([helper.make_node(kind, ["x", *constants], ["y"], **attributes)], constants), tmp_path)


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
    kernel, stride = window
    node = helper.make_node(
        kind, ["x"], ["y"], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, ceil_mode=1, **settings
    )
    _agree(network([node], {}, opset=19, size=size), tmp_path, size=size)


@pytest.mark.parametrize(
    ("constants", "settings"),
    [({"s": _weights(16), "b": _weights(16)}, {"epsilon": 1e-3}), ({"s": _weights(12, 16)}, {"axis": -2})],
)
def test_a_layer_norm_with_and_without_a_bias(
    constants: dict[str, np.ndarray], settings: dict[str, Any], tmp_path: Path
) -> None:
    node = helper.make_node("LayerNormalization", ["x", *constants], ["y"], **settings)
    _agree(network([node], constants, opset=17), tmp_path)


def test_a_product_of_constants_is_computed(tmp_path: Path) -> None:
    """As spectral_norm leaves it in a graph: the weights over their largest singular value."""
    nodes = [
        helper.make_node("MatMul", ["w", "v"], ["wv"]),
        helper.make_node("MatMul", ["u", "wv"], ["sigma"]),
        helper.make_node("Div", ["k", "sigma"], ["scaled"]),
        helper.make_node("Conv", ["x", "scaled"], ["y"], pads=[1] * 4),
    ]
    constants = {"w": _weights(2, 27), "v": _weights(27), "u": _weights(2), "k": _weights(2, 3, 3, 3)}
    _agree(network(nodes, constants), tmp_path)


def test_a_product_that_no_network_needs_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["a", "b"], ["c"]), helper.make_node("Mul", ["x", "c"], ["y"])]
    constants = {"a": np.ones((1 << 13, 1), np.float32), "b": np.ones((1, 1 << 13), np.float32)}
    with pytest.raises(ModelError, match=r"MatMul\) declares a result of shape \[8192, 8192\]"):
        import_onnx(save(network(nodes, constants), tmp_path / "net.onnx"))


def test_a_pool_that_pads_unevenly_can_be_quantised(tmp_path: Path) -> None:
    """Nothing in it is infinite, where every window holds the edge that it reaches beyond."""
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    module = _agree(network([node], {}), tmp_path)
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
    "upsample nearest 7": ("Upsample", 7, {"mode": "nearest", "scales": [1.0, 1.0, 2.0, 3.0]}),
    "upsample linear 7": ("Upsample", 7, {"mode": "linear", "scales": [1.0, 1.0, 2.0, 2.0]}),
}


@pytest.mark.parametrize("case", OLD)
def test_old_opsets_keep_their_settings_in_attributes(case: str, tmp_path: Path) -> None:
    kind, opset, attributes = OLD[case]
    model = network([helper.make_node(kind, ["x"], ["y"], **attributes)], {}, opset=opset)
    model.ir_version = 4
    _agree(model, tmp_path)


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
@pytest.mark.parametrize("nearest", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("size", [(24, 32), (6, 8), (17, 29)])
def test_nearest_picks_the_pixels_onnxruntime_picks(
    coordinates: str, nearest: str, size: tuple[int, int], tmp_path: Path
) -> None:
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode="nearest",
        coordinate_transformation_mode=coordinates, nearest_mode=nearest,
    )  # fmt: skip
    _agree(network([node], {"sizes": _ints(1, 3, *size)}, batch=1), tmp_path)


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
@pytest.mark.parametrize("size", [(24, 32), (6, 8), (17, 29)])
def test_linear_blends_as_onnxruntime_does(coordinates: str, size: tuple[int, int], tmp_path: Path) -> None:
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode="linear", coordinate_transformation_mode=coordinates
    )
    _agree(network([node], {"sizes": _ints(1, 3, *size)}, batch=1), tmp_path)


@pytest.mark.parametrize("scales", [(2.0, 2.0), (1.3, 0.7), (0.5, 3.0)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_scales_round_the_size_down(mode: str, scales: tuple[float, float], tmp_path: Path) -> None:
    node = helper.make_node(
        "Resize",
        ["x", "", "scales"],
        ["y"],
        mode=mode,
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    _agree(network([node], {"scales": _floats(1, 1, *scales)}), tmp_path)


@pytest.mark.parametrize("scale", [1 / 3, 0.2, 1.1, 0.7, 0.3, 1.2])
@pytest.mark.parametrize(
    ("mode", "coordinates", "nearest"),
    [
        ("nearest", "asymmetric", "floor"),
        ("nearest", "half_pixel", "round_prefer_floor"),
        ("nearest", "half_pixel", "round_prefer_ceil"),
        ("nearest", "half_pixel_symmetric", "floor"),
        ("linear", "half_pixel", "floor"),
        ("linear", "asymmetric", "floor"),
    ],
)
def test_scales_are_those_of_float32(mode: str, coordinates: str, nearest: str, scale: float, tmp_path: Path) -> None:
    """0.7 of 60 is 42 in float32 and 41 in float64; and where a pixel begins, the last bit decides."""
    node = helper.make_node(
        "Resize", ["x", "", "scales"], ["y"], mode=mode, coordinate_transformation_mode=coordinates,
        nearest_mode=nearest,
    )  # fmt: skip
    model = network([node], {"scales": _floats(1, 1, scale, scale)}, opset=19, size=(60, 90))
    _agree(model, tmp_path, size=(60, 90))


@pytest.mark.parametrize("scale", [0.7, 2.0])
def test_opset_10_picks_the_pixels_onnxruntime_picks(scale: float, tmp_path: Path) -> None:
    node = helper.make_node("Resize", ["x", "scales"], ["y"], mode="nearest")
    _agree(network([node], {"scales": _floats(1, 1, scale, scale)}, opset=10), tmp_path)


def test_opset_10_resize(tmp_path: Path) -> None:
    node = helper.make_node("Resize", ["x", "scales"], ["y"], mode="linear")
    _agree(network([node], {"scales": _floats(1, 1, 2, 2)}, opset=10), tmp_path)


def test_batch_norm_is_a_layer_with_the_stored_statistics(tmp_path: Path) -> None:
    model = conv_norm()
    module = _agree(model, tmp_path)
    norm = module.get_submodule("norm")
    assert isinstance(norm, torch.nn.BatchNorm2d)
    stored = {tensor.name: np.frombuffer(tensor.raw_data, np.float32) for tensor in model.graph.initializer}
    np.testing.assert_array_equal(norm.running_mean, stored["mean"])
    np.testing.assert_array_equal(norm.running_var, stored["var"])
    assert not norm.training


def test_gradients_reach_the_picture_and_no_parameter(tmp_path: Path) -> None:
    module = import_onnx(save(conv_norm(), tmp_path / "net.onnx")).module
    picture = torch.rand(2, 3, 12, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    module(picture).mean().backward()
    assert picture.grad is not None and float(picture.grad.abs().max()) > 0
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_shape_arithmetic_is_folded_and_a_batch_of_one_is_lifted(tmp_path: Path) -> None:
    """What exporters write for x.view(1, 3, -1) and for interpolate(size=2 * x.shape[2:])."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "two", "four", "zero"], ["size"]),
        helper.make_node("Mul", ["size", "twice"], ["bigger"]),
        helper.make_node("Slice", ["shape", "zero", "two", "zero"], ["first"]),
        helper.make_node("Concat", ["first", "bigger"], ["sizes"], axis=0),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["big"], mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric"),
        helper.make_node("Reshape", ["big", "flat"], ["rows"]),
        helper.make_node("Softmax", ["rows"], ["soft"], axis=-1),
        helper.make_node("Reshape", ["soft", "back"], ["y"]),
    ]  # fmt: skip
    constants = {
        "zero": _ints(0), "two": _ints(2), "four": _ints(4), "twice": _ints(2, 2),
        "flat": _ints(1, 3, -1), "back": _ints(1, 3, 24, 32),
    }  # fmt: skip
    _agree(network(nodes, constants, batch=1), tmp_path)


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
    constants = {"sizes": _ints(1, 2), "c": _weights(1, 1, 12, 16), "one": _floats(1), "axis": _ints(1)}
    _agree(network(nodes, constants, batch=1), tmp_path)


class _Squeezed(torch.nn.Module):
    """Two maps, one of them squeezed twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 1, 3, padding=1), torch.nn.Conv2d(3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = (F.interpolate(layer(x), size=x.shape[-2:]) for layer in (self.first, self.second))
        return first.squeeze(1) + second.squeeze(1) * first.squeeze(1)


@pytest.mark.filterwarnings("ignore")  # torch's older exporter is deprecated, and widely used
@pytest.mark.parametrize("opset", [11, 17])
def test_a_squeeze_that_torch_exports_as_a_choice_is_taken(opset: int, tmp_path: Path) -> None:
    path = tmp_path / "squeezed.onnx"
    torch.onnx.export(
        _Squeezed().eval(), (torch.rand(1, 3, 12, 16),), str(path), dynamo=False, opset_version=opset,
        input_names=["x"], dynamic_axes={"x": {0: "batch"}},
    )  # fmt: skip
    model = onnx.load(path)
    assert "If" in {node.op_type for node in model.graph.node}
    _agree(model, tmp_path)


@pytest.mark.parametrize("taken", [True, False])
def test_the_branch_of_a_known_condition_is_taken(taken: bool, tmp_path: Path) -> None:
    """Both branches read a tensor from outside that nothing else reads, and have weights of their own."""

    def branch(name: str, value: float) -> onnx.GraphProto:
        node = helper.make_node("Add", ["r", f"{name}_c"], [f"{name}_y"])
        constant = onnx.numpy_helper.from_array(_floats(value), f"{name}_c")
        return helper.make_graph([node], name, [], [helper.make_empty_tensor_value_info(f"{name}_y")], [constant])

    nodes = [
        helper.make_node("Neg", ["x"], ["r"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branch("then", 1.0), else_branch=branch("else", 5.0)),
    ]
    _agree(network(nodes, {"c": np.array(taken)}), tmp_path)


@pytest.mark.parametrize("kind", ["Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"])
def test_a_comparison_chooses_as_onnxruntime_does(kind: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Clip", ["x", "low", "high"], ["c"]),  # so that many are equal to the bound
        helper.make_node(kind, ["c", "low"], ["yes"]),
        helper.make_node("Not", ["yes"], ["no"]),
        helper.make_node("Where", ["yes", "x", "per_channel"], ["a"]),
        helper.make_node("Where", ["no", "low", "x"], ["b"]),
        helper.make_node("Where", ["columns", "a", "b"], ["d"]),
        helper.make_node("Cast", ["yes"], ["e"], to=1),
        helper.make_node("Add", ["d", "e"], ["y"]),
    ]
    constants = {
        "low": _floats(0.4).reshape(()), "high": _floats(0.8).reshape(()), "per_channel": _weights(3, 1, 1),
        "columns": np.arange(16) % 3 == 0,
    }  # fmt: skip
    _agree(network(nodes, constants), tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_softplus_as_torchs_newer_exporter_writes_it(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    path = tmp_path / "softplus.onnx"
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 3, padding=1), torch.nn.Softplus(beta=2.0, threshold=0.5))
    torch.onnx.export(net.eval(), (torch.rand(1, 3, 12, 16),), str(path), dynamo=True, input_names=["x"])
    model = onnx.load(path)
    assert "Where" in {node.op_type for node in model.graph.node}
    _agree(model, tmp_path)


@pytest.mark.parametrize("axes", [[0], [0, 1], None])
def test_a_batch_of_one_that_is_squeezed_at_the_end_is_lifted(axes: list[int] | None, tmp_path: Path) -> None:
    constants = {"c": _floats(2.0), **({} if axes is None else {"a": _ints(*axes)})}
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1]),
        helper.make_node("Squeeze", ["m", *([] if axes is None else ["a"])], ["s"]),
        helper.make_node("Mul", ["s", "c"], ["d"]),
        helper.make_node("Identity", ["d"], ["y"]),
    ]
    module = import_onnx(save(network(nodes, constants, batch=1), tmp_path / "net.onnx")).module
    pictures = torch.rand(2, 3, 12, 16)
    torch.testing.assert_close(module(pictures).reshape(2, 12, 16), 2 * pictures.mean(1))


@pytest.mark.parametrize("order", [("quarter", "half", "depth", "uncertainty"), ("depth", "uncertainty", "half")])
def test_of_several_outputs_the_first_of_the_largest_maps_is_the_depth(order: tuple[str, ...], tmp_path: Path) -> None:
    """Networks of several scales give their small maps along, before or behind the whole one."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["depth"], axes=[1]),
        helper.make_node("AveragePool", ["depth"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("AveragePool", ["half"], ["quarter"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Neg", ["depth"], ["uncertainty"]),
        helper.make_node("Exp", ["x"], ["y"]),
    ]
    model = network(nodes, {})
    features = model.graph.output.pop()
    model.graph.output.extend(helper.make_tensor_value_info(name, 1, [None, 1, None, None]) for name in order)
    model.graph.output.append(features)
    imported = import_onnx(save(model, tmp_path / "net.onnx"))
    picture = torch.rand(2, 3, 12, 16)
    torch.testing.assert_close(imported.module(picture), picture.mean(1, keepdim=True))
    assert imported.remarks == (f"took the output depth, and left {', '.join([*order, 'y']).replace('depth, ', '')}",)


def test_gemm(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1, alpha=0.5, beta=2.0),
    ]
    _agree(network(nodes, {"w": _weights(5, 3), "b": _weights(5)}), tmp_path)


def test_an_open_size_must_be_stated(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    path = save(network([node], {}, size=("H", "W")), tmp_path / "open.onnx")
    with pytest.raises(ModelError, match=r"leaves its height and width open.*open\.onnx\.input\.json"):
        import_onnx(path)
    network_at = import_onnx(path, size=(8, 10))
    assert (network_at.height, network_at.width) == (8, 10)


@pytest.mark.parametrize("open_", [-1, 0])
def test_sizes_that_are_no_sizes_are_open(open_: int, tmp_path: Path) -> None:
    model = network([helper.make_node("Relu", ["x"], ["y"])], {}, batch=open_, size=(open_, open_))
    for dim in model.graph.output[0].type.tensor_type.shape.dim:
        dim.dim_param = "any"
    path = save(model, tmp_path / "open.onnx")
    with pytest.raises(ModelError, match=r"leaves its height and width open"):
        import_onnx(path)
    module = import_onnx(path, size=(8, 10)).module
    assert module(torch.rand(2, 3, 8, 10)).shape == (2, 3, 8, 10)


def test_mish(tmp_path: Path) -> None:
    nodes = [helper.make_node("Sub", ["x", "c"], ["d"]), helper.make_node("Mish", ["d"], ["y"])]
    _agree(network(nodes, {"c": _floats(0.5)}, opset=18), tmp_path)


def test_one_value_a_channel_is_spread(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[2, 3]),
        helper.make_node("Expand", ["m", "s"], ["y"]),
    ]
    _agree(network(nodes, {"s": _ints(1, 12, 16)}, batch=1), tmp_path)


REFUSED = {
    "repeated pictures": (
        [helper.make_node("Expand", ["x", "s"], ["y"])], {"s": _ints(2, 3, 12, 16)}, r"repeats the pictures",
    ),
    "unknown operation": (
        [helper.make_node("LSTM", ["x", "w", "w"], ["y"], name="memory", hidden_size=1)], {"w": _weights(1, 4, 1)},
        r"memory \(LSTM\) is an operation that cannot be imported",
    ),
    "mixed pictures": (
        [helper.make_node("Reshape", ["x", "s"], ["y"], name="mix")], {"s": _ints(3, -1)}, r"mix .*mixes the pictures",
    ),
    "giant constant": (
        [helper.make_node("ConstantOfShape", ["s"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])],
        {"s": _ints(10**6, 10**6)}, r"declares a result of shape \[1000000, 1000000\]",
    ),
    "giant resize": (
        [helper.make_node("Resize", ["x", "", "s"], ["y"])], {"s": _floats(1, 1, 1e5, 1e5)}, r"declares a result",
    ),
    "softmax of pictures": (
        [helper.make_node("Softmax", ["x"], ["y"], axis=0)], {}, r"Softmax\) normalises over the pictures",
    ),
    "moved batch": ([helper.make_node("Transpose", ["x"], ["y"])], {}, r"Transpose\) moves the batch"),
    "split batch": ([helper.make_node("Split", ["x"], ["y"], axis=0)], {}, r"Split\) splits the batch"),
    "axis before the batch": (
        [helper.make_node("Unsqueeze", ["x", "a"], ["y"])], {"a": _ints(0)}, r"puts an axis before the batch",
    ),
    "squeezed batch": (
        [helper.make_node("Squeeze", ["x", "a"], ["s"]), helper.make_node("ReduceMean", ["s"], ["y"], axes=[1])],
        {"a": _ints(0)}, r"ReduceMean\) works on pictures from which the batch was squeezed away",
    ),
    "squeezed batch that comes back": (
        [helper.make_node("Squeeze", ["x", "a"], ["s"]), helper.make_node("Unsqueeze", ["s", "a"], ["y"])],
        {"a": _ints(0)}, r"Unsqueeze\) works on pictures from which the batch was squeezed away",
    ),
    "squeezed batch that meets another": (
        [helper.make_node("Squeeze", ["x", "a"], ["s"]), helper.make_node("Add", ["s", "x"], ["y"])],
        {"a": _ints(0)}, r"Add\) works on pictures from which the batch was squeezed away",
    ),
    "slopes of columns": ([helper.make_node("PRelu", ["x", "w"], ["y"])], {"w": _weights(16)}, r"has slopes of shape"),
    "slopes of as many columns": (
        [
            helper.make_node("Slice", ["x", "s", "e", "a"], ["z"]),
            helper.make_node("PRelu", ["z", "w"], ["y"]),
        ],
        {"s": _ints(0), "e": _ints(3), "a": _ints(3), "w": _weights(3)}, r"not one a channel: \[3, 1, 1\]",
    ),
    "weights from the picture": (
        [helper.make_node("Conv", ["x", "x"], ["y"], name="self")], {}, r"self \(Conv\) has an input 1 that depends",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_imported_names_the_node(case: str, tmp_path: Path) -> None:
    nodes, constants, message = REFUSED[case]
    with pytest.raises(ModelError, match=message):
        import_onnx(save(network(nodes, constants), tmp_path / "net.onnx"))


@pytest.mark.parametrize(("channels", "size"), [(1, (12, 16)), (4, (12, 16)), (3, (10**6, 10**6))])
def test_inputs_that_are_no_pictures_are_refused(channels: int, size: tuple[int, int], tmp_path: Path) -> None:
    model = network([helper.make_node("Relu", ["x"], ["y"])], {}, channels=channels, size=size)
    with pytest.raises(ModelError, match=r"takes|declares pictures"):
        import_onnx(save(model, tmp_path / "net.onnx"))
