"""Moves pixelwise operations before the enlarging of a map: the same depth for a quarter of the arithmetic."""

from __future__ import annotations

from collections import Counter

import onnx

__all__ = ["enlarge_last"]


def enlarge_last(model: onnx.ModelProto) -> None:
    """Move 1x1 convolutions that add no channels, ReLU and Clip before a nearest Resize that enlarges, in place.

    This is exact: each pixel is computed once instead of once per copy. The Resize must have constant scales, which
    `tidy` provides, as sizes would include the channels.
    """
    swapped = False
    while _swap_one(model):
        swapped = True
    if swapped:  # the tensors in between kept their names but changed their shapes
        model.graph.ClearField("value_info")
        model.CopyFrom(onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True))


def _swap_one(model: onnx.ModelProto) -> bool:
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    shapes = {name: list(tensor.dims) for name, tensor in constants.items()}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(output.name for output in graph.output)
    made_by = {name: node for node in graph.node for name in node.output}
    for pointwise in graph.node:
        resize = made_by.get(pointwise.input[0]) if pointwise.input else None
        if resize is None or resize.op_type != "Resize" or uses[resize.output[0]] != 1:
            continue
        if _enlarges(resize, constants) and _is_pointwise(pointwise, shapes):
            small, between, large = resize.input[0], resize.output[0], pointwise.output[0]
            pointwise.input[0], pointwise.output[0] = small, between
            resize.input[0], resize.output[0] = between, large
            _move_before(graph, pointwise, resize)
            return True
    return False


def _enlarges(resize: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    """Whether the Resize enlarges by a known scale without changing any value."""
    given = {attribute.name: attribute for attribute in resize.attribute}
    mode = given["mode"].s if "mode" in given else b"nearest"
    transformation = given["coordinate_transformation_mode"].s if "coordinate_transformation_mode" in given else b""
    scales = constants.get(resize.input[2]) if len(resize.input) == 3 else None
    larger = scales is not None and bool((onnx.numpy_helper.to_array(scales) >= 1).all())
    return bool(larger and mode == b"nearest" and transformation != b"tf_crop_and_resize")


def _is_pointwise(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> bool:
    if node.op_type in ("Relu", "Clip"):
        return all(name in shapes for name in node.input[1:] if name)
    shape = shapes.get(node.input[1]) if node.op_type == "Conv" else None
    if shape is None or len(shape) != 4 or shape[2:] != [1, 1] or shape[0] > shape[1]:
        return False
    given = {attribute.name: list(attribute.ints) for attribute in node.attribute}
    automatic = any(attribute.name == "auto_pad" and attribute.s != b"NOTSET" for attribute in node.attribute)
    return not automatic and not any(given.get("pads", [])) and set(given.get("strides", [1])) == {1}


def _move_before(graph: onnx.GraphProto, moved: onnx.NodeProto, other: onnx.NodeProto) -> None:
    kept = [node for node in graph.node if node is not moved]
    place = next(index for index, node in enumerate(kept) if node is other)
    order = [*kept[:place], moved, *kept[place:]]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in order]
    del graph.node[:]
    graph.node.extend(copies)
