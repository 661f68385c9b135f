"""Cleans up an exported ONNX graph: constant scales, no dead nodes, no traces of the machine it was made on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from targets.nodes import drop_unused

__all__ = ["tidy"]


def tidy(model: onnx.ModelProto) -> None:
    """Turn constants into weights, let only a Cast read the pictures, write GELU as runtimes know it, give Resizes
    constant scales where these are exact, remove dead nodes and file paths, and store shapes."""
    _strip(model)
    _store_constants(model)
    _measure_after_cast(model)
    _halve_last(model)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
    }
    for node in model.graph.node:
        if node.op_type == "Resize" and len(node.input) == 4:
            _state_scales(model, node, shapes.get(node.input[0], []), shapes.get(node.output[0], []))
    drop_unused(model)
    model.graph.ClearField("value_info")
    model.CopyFrom(onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True))
    model.producer_name, model.producer_version, model.doc_string = "edgekd", "", ""


def _store_constants(model: onnx.ModelProto) -> None:
    """Store as weights what torch's tracer writes as Constant nodes, and as Identity nodes for weights with equal
    values."""
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            value = node.attribute[0].t
        elif node.op_type == "Identity" and node.input[0] in stored:
            value = stored[node.input[0]]
        else:
            kept.append(node)
            continue
        tensor = graph.initializer.add()
        tensor.CopyFrom(value)
        tensor.name = node.output[0]
        stored[tensor.name] = tensor
    del graph.node[:]
    graph.node.extend(kept)


def _measure_after_cast(model: onnx.ModelProto) -> None:
    """Take the size of the batch after the pictures' Cast, where a network asks for it: TensorRT has no Shape of uint8,
    which is for the network's input only."""
    graph = model.graph
    pictures = graph.input[0].name
    cast = next((node for node in graph.node if node.op_type == "Cast" and node.input[0] == pictures), None)
    measuring = [node for node in graph.node if node.op_type == "Shape" and node.input[0] == pictures]
    if cast is None or not measuring:
        return
    for node in measuring:
        node.input[0] = cast.output[0]
    others = [node for node in graph.node if node is not cast]
    del graph.node[:]
    graph.node.extend([cast, *others])


def _halve_last(model: onnx.ModelProto) -> None:
    """Write x * (0.5 * (1 + erf)) as (x * (1 + erf)) * 0.5, the same to the bit: ONNX Runtime finds a GELU only so, and
    computes it in a third of the time."""
    halves = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and np.array_equal(numpy_helper.to_array(tensor).ravel(), [0.5])
    }
    made_by = {name: node for node in model.graph.node for name in node.output}
    readers = Counter(name for node in model.graph.node for name in node.input)
    for product in model.graph.node:
        if product.op_type != "Mul":
            continue
        for x, halved in (tuple(product.input), tuple(product.input)[::-1]):
            node = made_by.get(halved)
            if node is None or node.op_type != "Mul" or readers[halved] != 1:
                continue
            half, others = sorted(node.input, key=lambda name: name not in halves)
            if half in halves and _is_one_plus_erf_of(x, others, made_by):
                node.input[:], product.input[:] = [x, others], [halved, half]
                break


def _is_one_plus_erf_of(x: str, name: str, made_by: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether a tensor is a sum with the erf of something that is computed from x in one step."""
    add = made_by.get(name)
    if add is None or add.op_type != "Add":
        return False
    erfs = [made_by[one] for one in add.input if one in made_by and made_by[one].op_type == "Erf"]
    scaled = [made_by[erf.input[0]] for erf in erfs if erf.input[0] in made_by]
    return any(x in node.input for node in scaled)


def _state_scales(model: onnx.ModelProto, node: onnx.NodeProto, before: list[int], after: list[int]) -> None:
    """Replace sizes computed at run time by constant scales, which are simpler for parsers and quantisers."""
    if len(before) != 4 or len(after) != 4 or not all(before[2:]) or not all(after[2:]):
        return
    scales = np.array([1, 1, after[2] / before[2], after[3] / before[3]], dtype=np.float32)
    if any(old * float(scale) != new for old, new, scale in zip(before[2:], after[2:], scales[2:], strict=True)):
        return  # a rounded scale could pick another pixel, or lose the last one
    name = f"{node.output[0]}_scales"
    model.graph.initializer.append(numpy_helper.from_array(scales, name))
    roi = node.input[1]
    del node.input[1:]
    node.input.extend([roi, name])


def _strip(model: onnx.ModelProto) -> None:
    """Remove the stack traces, with file paths, that the exporter stores on everything."""
    graph = model.graph
    for entry in [model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")
