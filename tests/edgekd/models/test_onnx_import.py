"""How the importer treats a graph as a whole: statistics, shapes, branches and outputs, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx_agreement import agree, floats, ints, weights
from onnx_graphs import conv_norm, network, save
from torch.nn import functional as F

from calibration.errors import ModelError
from edgekd.models.onnx_import import import_onnx


def test_batch_norm_is_a_layer_with_the_stored_statistics(tmp_path: Path) -> None:
    model = conv_norm()
    module = agree(model, tmp_path)
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


@pytest.mark.parametrize("name", ["/Or", "Lambda", "graph", "code", "meta", "self", "forward", "\ufb01rst", "1"])
def test_a_node_may_have_any_name(name: str, tmp_path: Path) -> None:
    """`or` is what torch's exporter makes of a mask (a < 0) | (a > 1) in a network's own forward."""
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["a"], name=name),
        helper.make_node("Exp", ["a"], ["y"], name=f"{name}_1"),
    ]
    agree(network(nodes, {}), tmp_path)


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
        "zero": ints(0), "two": ints(2), "four": ints(4), "twice": ints(2, 2),
        "flat": ints(1, 3, -1), "back": ints(1, 3, 24, 32),
    }  # fmt: skip
    agree(network(nodes, constants, batch=1), tmp_path)


class _Squeezed(torch.nn.Module):
    """Two maps, one of them squeezed twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 1, 3, padding=1), torch.nn.Conv2d(3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = (F.interpolate(layer(x), size=x.shape[-2:]) for layer in (self.first, self.second))
        return first.squeeze(1) + second.squeeze(1) * first.squeeze(1)


@pytest.mark.filterwarnings("ignore")  # torch's older exporter is deprecated but widely used
@pytest.mark.parametrize("opset", [11, 17])
def test_a_squeeze_that_torch_exports_as_a_choice_is_taken(opset: int, tmp_path: Path) -> None:
    path = tmp_path / "squeezed.onnx"
    torch.onnx.export(
        _Squeezed().eval(), (torch.rand(1, 3, 12, 16),), str(path), dynamo=False, opset_version=opset,
        input_names=["x"], dynamic_axes={"x": {0: "batch"}},
    )  # fmt: skip
    model = onnx.load(path)
    assert "If" in {node.op_type for node in model.graph.node}
    agree(model, tmp_path)


@pytest.mark.parametrize("taken", [True, False])
def test_the_branch_of_a_known_condition_is_taken(taken: bool, tmp_path: Path) -> None:
    """Both branches read an outer tensor that nothing else reads, and have their own weights."""

    def branch(name: str, value: float) -> onnx.GraphProto:
        node = helper.make_node("Add", ["r", f"{name}_c"], [f"{name}_y"])
        constant = onnx.numpy_helper.from_array(floats(value), f"{name}_c")
        return helper.make_graph([node], name, [], [helper.make_empty_tensor_value_info(f"{name}_y")], [constant])

    nodes = [
        helper.make_node("Neg", ["x"], ["r"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branch("then", 1.0), else_branch=branch("else", 5.0)),
    ]
    agree(network(nodes, {"c": np.array(taken)}), tmp_path)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -5])
def test_maps_may_be_stacked_before_the_batch(axis: int, keepdims: int, tmp_path: Path) -> None:
    """As torch.stack(maps).sum(0) does, in a feature pyramid."""
    nodes = [
        helper.make_node("Neg", ["x"], ["n"]),
        helper.make_node("Exp", ["x"], ["e"]),
        *(helper.make_node("Unsqueeze", [name, "a"], [f"{name}1"]) for name in ("n", "e", "x")),
        helper.make_node("Concat", ["n1", "e1", "x1"], ["s"], axis=axis),
        helper.make_node("Tanh", ["s"], ["t"]),
        helper.make_node("ReduceSum", ["t", "a"], ["m"], keepdims=keepdims),
        *(
            [helper.make_node("Squeeze", ["m", "a"], ["y"])]
            if keepdims
            else [helper.make_node("Identity", ["m"], ["y"])]
        ),
    ]
    agree(network(nodes, {"a": ints(axis)}), tmp_path)


@pytest.mark.parametrize("axes", [[0], [0, 1], None])
def test_a_batch_of_one_that_is_squeezed_at_the_end_is_lifted(axes: list[int] | None, tmp_path: Path) -> None:
    constants = {"c": floats(2.0), **({} if axes is None else {"a": ints(*axes)})}
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
    """Networks of several scales output their small maps too, before or after the full one."""
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
    ignored = ", ".join([*order, "y"]).replace("depth, ", "")
    (remark,) = imported.remarks
    assert remark.startswith(f"uses the output depth and ignores {ignored}; if that is not its depth, ")


def test_an_open_size_must_be_stated(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    path = save(network([node], {}, size=("H", "W")), tmp_path / "open.onnx")
    with pytest.raises(ModelError, match=r"does not state its height and width.*open\.onnx\.input\.json"):
        import_onnx(path)
    network_at = import_onnx(path, size=(8, 10))
    assert (network_at.height, network_at.width) == (8, 10)


@pytest.mark.parametrize("open_", [-1, 0])
def test_sizes_that_are_no_sizes_are_open(open_: int, tmp_path: Path) -> None:
    model = network([helper.make_node("Relu", ["x"], ["y"])], {}, batch=open_, size=(open_, open_))
    for dim in model.graph.output[0].type.tensor_type.shape.dim:
        dim.dim_param = "any"
    path = save(model, tmp_path / "open.onnx")
    with pytest.raises(ModelError, match=r"does not state its height and width"):
        import_onnx(path)
    module = import_onnx(path, size=(8, 10)).module
    assert module(torch.rand(2, 3, 8, 10)).shape == (2, 3, 8, 10)


@pytest.mark.parametrize("apart", ["Gather", "Split"])
def test_queries_keys_and_values_that_are_made_at_once_are_told_apart(apart: str, tmp_path: Path) -> None:
    """As in vision transformers, where the batch is the second axis for a while."""
    nodes = [
        helper.make_node("Reshape", ["x", "tokens"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["t", "w"], ["packed"]),
        helper.make_node("Reshape", ["packed", "heads"], ["five"]),
        helper.make_node("Transpose", ["five"], ["qkv"], perm=[2, 0, 3, 1, 4]),
        helper.make_node("Mul", ["half", "qkv"], ["scaled"]),
    ]
    if apart == "Gather":
        nodes += [helper.make_node("Gather", ["scaled", str(n)], ["qkv"[n]], axis=0) for n in range(3)]
    else:
        nodes.append(helper.make_node("Split", ["scaled"], ["q1", "k1", "v1"], axis=0))
        nodes += [helper.make_node("Squeeze", [f"{name}1", "0"], [name]) for name in "qkv"]
    nodes += [
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "v"], ["seen"]),
        helper.make_node("Transpose", ["seen"], ["back"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["back", "flat"], ["y"]),
    ]
    constants = {
        "tokens": ints(1, 3, 192), "w": weights(3, 24), "heads": ints(1, 192, 3, 2, 4), "half": floats(0.5),
        "flat": ints(1, 192, 8),
        **({str(n): np.array(n) for n in range(3)} if apart == "Gather" else {"0": ints(0)}),
    }  # fmt: skip
    agree(network(nodes, constants, batch=1), tmp_path)


REFUSED = {
    "repeated pictures": (
        [helper.make_node("Expand", ["x", "s"], ["y"])], {"s": ints(2, 3, 12, 16)}, r"repeats the pictures",
    ),
    "unknown operation": (
        [helper.make_node("LSTM", ["x", "w", "w"], ["y"], name="memory", hidden_size=1)], {"w": weights(1, 4, 1)},
        r"memory \(LSTM\) is an unsupported operation",
    ),
    "mixed pictures": (
        [helper.make_node("Reshape", ["x", "s"], ["y"], name="mix")], {"s": ints(3, -1)}, r"mix .*mixes the pictures",
    ),
    "giant constant": (
        [helper.make_node("ConstantOfShape", ["s"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])],
        {"s": ints(10**6, 10**6)}, r"declares a result of shape \[1000000, 1000000\]",
    ),
    "giant resize": (
        [helper.make_node("Resize", ["x", "", "s"], ["y"])], {"s": floats(1, 1, 1e5, 1e5)}, r"declares a result",
    ),
    "softmax of pictures": (
        [helper.make_node("Softmax", ["x"], ["y"], axis=0)], {}, r"Softmax\) normalises across the pictures",
    ),
    "batch moved before a product": (
        [helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2, 3]), helper.make_node("MatMul", ["t", "w"], ["y"])],
        {"w": weights(16, 5)}, r"Transpose\) moves the batch",
    ),
    "moved batch": ([helper.make_node("Transpose", ["x"], ["y"])], {}, r"Transpose\) moves the batch"),
    "split batch": ([helper.make_node("Split", ["x"], ["y"], axis=0)], {}, r"Split\) splits the batch"),
    "axis before the batch": (
        [helper.make_node("Unsqueeze", ["x", "a"], ["y"])], {"a": ints(0)}, r"Unsqueeze\) moves the batch",
    ),
    "sum of a batch behind an axis before it": (
        [helper.make_node("Unsqueeze", ["x", "a"], ["u"]), helper.make_node("ReduceSum", ["u", "b"], ["y"])],
        {"a": ints(0), "b": ints(1)}, r"Unsqueeze\) moves the batch",
    ),
    "squeezed batch": (
        [helper.make_node("Squeeze", ["x", "a"], ["s"]), helper.make_node("ReduceMean", ["s"], ["y"], axes=[1])],
        {"a": ints(0)}, r"ReduceMean\) works on pictures whose batch axis was squeezed away",
    ),
    "squeezed batch that comes back": (
        [helper.make_node("Squeeze", ["x", "a"], ["s"]), helper.make_node("Unsqueeze", ["s", "a"], ["y"])],
        {"a": ints(0)}, r"Unsqueeze\) works on pictures whose batch axis was squeezed away",
    ),
    "squeezed batch that meets another": (
        [helper.make_node("Squeeze", ["x", "a"], ["s"]), helper.make_node("Add", ["s", "x"], ["y"])],
        {"a": ints(0)}, r"Add\) works on pictures whose batch axis was squeezed away",
    ),
    "slopes of columns": ([helper.make_node("PRelu", ["x", "w"], ["y"])], {"w": weights(16)}, r"has slopes of shape"),
    "slopes of as many columns": (
        [
            helper.make_node("Slice", ["x", "s", "e", "a"], ["z"]),
            helper.make_node("PRelu", ["z", "w"], ["y"]),
        ],
        {"s": ints(0), "e": ints(3), "a": ints(3), "w": weights(3)}, r"not one per channel: \[3, 1, 1\]",
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
