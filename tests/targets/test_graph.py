from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from small_network import SPEC, save, small_network

from calibration.errors import FileError, ModelError
from targets.graph import read_graph
from targets.layers import Weights, replace_weights
from targets.nodes import body, drop_unused
from targets.preflight import preflight


def test_a_good_model_is_read_with_its_input(tmp_path: Path) -> None:
    import hashlib

    path = save(small_network(), tmp_path / "student.onnx")
    graph = read_graph(path)
    assert graph.input == SPEC
    assert graph.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"nothing\.onnx"):
        read_graph(tmp_path / "nothing.onnx")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no model", b"\x08\x08", "truncated"])
def test_what_is_no_onnx_is_named(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "broken.onnx"
    whole = small_network().SerializeToString()
    path.write_bytes(whole[: len(whole) // 2] if content == "truncated" else content)
    with pytest.raises(ModelError, match=r"broken\.onnx"):
        read_graph(path)


def changed(change: str) -> onnx.ModelProto:
    model = small_network()
    if change == "metadata":
        del model.metadata_props[:]
    elif change == "metadata-json":
        helper.set_model_props(model, {"edgekd.input": "{"})
    elif change == "opset":
        model.opset_import[0].version = 24
    elif change == "input-type":
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
    elif change == "input-size":
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 64
    elif change == "input-name":
        model.graph.input[0].name = model.graph.node[0].input[0] = "picture"
    elif change == "output-name":
        model.graph.output[0].name = model.graph.node[-1].output[0] = "disparity"
    elif change == "second-output":
        model.graph.output.append(helper.make_tensor_value_info("t3", TensorProto.FLOAT, ["N", 3, 32, 48]))
    elif change == "custom-operator":
        model.opset_import.append(helper.make_opsetid("com.example", 1))
        model.graph.node.append(helper.make_node("Odd", ["depth"], ["odd"], domain="com.example"))
    return model


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("metadata", "edgekd.input"),
        ("metadata-json", "not JSON"),
        ("opset", "opset 24"),
        ("input-type", "uint8"),
        ("input-size", "image"),
        ("input-name", "'image'"),
        ("output-name", "'depth'"),
        ("second-output", "one output"),
        ("custom-operator", "com.example"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_the_reason(tmp_path: Path, change: str, reason: str) -> None:
    path = save(changed(change), tmp_path / "student.onnx")
    with pytest.raises(ModelError, match=reason) as raised:
        read_graph(path)
    assert "export" in raised.value.fix


def test_body_leaves_out_pre_processing_and_output_layer() -> None:
    model = small_network()
    kinds = frozenset(node.op_type for node in model.graph.node)
    inside = [node.op_type for node in body(model, kinds)]
    assert inside == ["Conv", "Relu", "Conv", "Relu", "Conv", "Relu", "Conv", "Add", "Conv", "Relu", "Resize"]


def branching(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int],
    output: Sequence[int] | None,
    constants: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    """A graph from `x` and a condition `yes` to `y`; one of its nodes is an If."""
    given = [("x", TensorProto.FLOAT, shape), ("yes", TensorProto.BOOL, [])]
    inputs = [helper.make_tensor_value_info(*one) for one in given]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)]
    graph = helper.make_graph(nodes, "g", inputs, made, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_new_weights_leave_the_old_to_a_branch_that_reads_them() -> None:
    shape = [1, 3, 4, 4]

    def branch(name: str, kind: str, *reads: str) -> onnx.GraphProto:
        made = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, shape)
        return helper.make_graph([helper.make_node(kind, reads, [made.name])], name, [], [made])

    weight, bias = np.ones((3, 3, 1, 1), np.float32), np.arange(3, dtype=np.float32).reshape(1, 3, 1, 1)
    branches = {
        "then_branch": branch("a", "Add", "f", "conv.bias"),
        "else_branch": branch("b", "Identity", "f"),
    }
    model = branching(
        [
            helper.make_node("Conv", ["x", "conv.weight"], ["f"], name="conv"),
            helper.make_node("If", ["yes"], ["y"], name="if", **branches),
        ],
        shape,
        shape,
        [numpy_helper.from_array(weight, "conv.weight"), numpy_helper.from_array(bias, "conv.bias")],
    )
    replace_weights(model, {"conv": Weights(2 * weight, np.ones(3, np.float32))})
    onnx.checker.check_model(model)
    fed = {"x": np.ones(shape, np.float32), "yes": np.array(True)}
    (found,) = ReferenceEvaluator(model).run(None, fed)
    np.testing.assert_allclose(found, np.broadcast_to(7 + bias, shape))


@pytest.mark.parametrize(("zero", "reasons"), [(0, set()), (3, {"zero-point: must be 0"})])
def test_constants_of_a_branch_are_known_there(zero: int, reasons: set[str]) -> None:
    def branch(name: str) -> onnx.GraphProto:
        constants = numpy_helper.from_array(np.float32(0.1), "scale"), numpy_helper.from_array(np.int8(zero), "zero")
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], [f"{name}_q"]),
            helper.make_node("DequantizeLinear", [f"{name}_q", "scale", "zero"], [f"{name}_out"]),
        ]
        made = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [4])
        return helper.make_graph(nodes, name, [], [made], constants)

    model = branching(
        [helper.make_node("If", ["yes"], ["y"], then_branch=branch("a"), else_branch=branch("b"))], [4], [4]
    )
    newest = preflight(model)[-1]
    assert {finding.reason for finding in newest.findings if finding.op.endswith("Linear")} == reasons


def test_what_a_branch_reads_is_kept_and_its_nodes_are_looked_at() -> None:
    shape = [1, 2, 2]

    def branch(name: str, kind: str) -> onnx.GraphProto:
        made = helper.make_tensor_value_info(f"{name}_out", 1, shape if kind == "Add" else [1])
        return helper.make_graph(
            [helper.make_node(kind, ["outer", "outer"] if kind == "Add" else ["outer"], [made.name])], name, [], [made]
        )

    model = branching(
        [
            helper.make_node("Abs", ["x"], ["outer"]),
            helper.make_node("Abs", ["x"], ["unused"]),
            helper.make_node("If", ["yes"], ["y"], then_branch=branch("a", "Add"), else_branch=branch("b", "Det")),
        ],
        shape,
        None,
    )
    assert all("Det" in [finding.op for finding in verdict.findings] for verdict in preflight(model))
    drop_unused(model)
    assert [node.output[0] for node in model.graph.node] == ["outer", "y"]
