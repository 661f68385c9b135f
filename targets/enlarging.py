"""Enlarging int8 maps by copying whole rows, where ONNX Runtime's Resize handles eight-bit numbers one by one.

Its nearest Resize has a fast path for float maps only. A map in the order rows, columns, channels is enlarged by
writing every column twice and every row twice: two Concat operators, which copy blocks of memory. ONNX Runtime keeps
int8 maps in that order anyway, so the transpositions written here cancel out against its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from targets.layers import constants
from targets.nodes import drop_unused, shapes_of

if TYPE_CHECKING:
    import onnx

__all__ = ["enlarge_by_copying"]

_REPEATING = {(b"asymmetric", b"floor"), (b"half_pixel", b"round_prefer_floor")}
"""(coordinate transformation, nearest mode) with which an integer scale repeats every pixel that many times."""


@dataclass(frozen=True)
class _Enlargement:
    """A nearest Resize that is encoded alike before and after, so its codes can be enlarged instead."""

    name: str
    codes: str  # the int8 map [N, C, H, W]
    down: int  # how often each row is written
    across: int


def enlarge_by_copying(model: onnx.ModelProto) -> None:
    """Replace, in place, nearest Resizes with integer scales, encoded alike on both sides, by copies of their codes."""
    values, shapes = constants(model), shapes_of(model)
    made_by = {name: node for node in model.graph.node for name in node.output}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        found = _enlargement(node, made_by, values) if node.op_type == "DequantizeLinear" else None
        shape = shapes.get(found.codes, []) if found is not None else []
        if found is not None and len(shape) == 4 and all(shape[1:]):
            nodes += _copies(model, found, shape)
            node.input[0] = nodes[-1].output[0]
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    drop_unused(model)


def _enlargement(
    behind: onnx.NodeProto, made_by: Mapping[str, onnx.NodeProto], values: Mapping[str, NDArray[np.float32]]
) -> _Enlargement | None:
    quantise = made_by.get(behind.input[0])
    if quantise is None or quantise.op_type != "QuantizeLinear":
        return None
    resize = made_by.get(quantise.input[0])
    before = made_by.get(resize.input[0]) if resize is not None else None
    if resize is None or before is None or resize.op_type != "Resize" or before.op_type != "DequantizeLinear":
        return None
    pairs = zip(before.input[1:], behind.input[1:], strict=True)
    # A float layer reads a scale per channel, all equal (`encode`).
    if not all((values[one] == values[other]).all() for one, other in pairs):
        return None
    given = {attribute.name: attribute.s for attribute in resize.attribute if attribute.s}
    how = given.get("coordinate_transformation_mode", b"half_pixel"), given.get("nearest_mode", b"round_prefer_floor")
    scales = values.get(resize.input[2]) if len(resize.input) == 3 else None
    if scales is None or scales.shape != (4,) or how not in _REPEATING or given.get("mode", b"nearest") != b"nearest":
        return None
    down, across = int(scales[2]), int(scales[3])
    return _Enlargement(resize.name, before.input[0], down, across) if tuple(scales) == (1, 1, down, across) else None


def _copies(model: onnx.ModelProto, found: _Enlargement, shape: list[int]) -> list[onnx.NodeProto]:
    from onnx import helper, numpy_helper

    _, channels, height, width = shape
    name = f"{found.name}.copied"
    flat = np.array([0, height, found.across * width * channels], np.int64)
    large = np.array([0, found.down * height, found.across * width, channels], np.int64)
    model.graph.initializer.extend(
        numpy_helper.from_array(size, f"{name}.{of}") for of, size in (("flat_shape", flat), ("large_shape", large))
    )
    return [
        helper.make_node("Transpose", [found.codes], [f"{name}.last"], name=f"{name}.last", perm=[0, 2, 3, 1]),
        helper.make_node(
            "Concat", [f"{name}.last"] * found.across, [f"{name}.columns"], name=f"{name}.columns", axis=3
        ),
        helper.make_node("Reshape", [f"{name}.columns", f"{name}.flat_shape"], [f"{name}.flat"], name=f"{name}.flat"),
        helper.make_node("Concat", [f"{name}.flat"] * found.down, [f"{name}.rows"], name=f"{name}.rows", axis=2),
        helper.make_node("Reshape", [f"{name}.rows", f"{name}.large_shape"], [f"{name}.large"], name=f"{name}.large"),
        helper.make_node("Transpose", [f"{name}.large"], [f"{name}.first"], name=f"{name}.first", perm=[0, 3, 1, 2]),
    ]
