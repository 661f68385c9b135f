"""Framing inside the graph: the camera's frame goes in as it is, and the network sees what framing would give it.

Crop and resize are two matrix products with the weights of the anti-aliased resize that framing uses, so the picture is
the same to within rounding. README.md has what was measured against Resize.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.errors import UsageError
from targets.board.framing import CAMERA_SIDES, resampling
from targets.graph import copy_model
from targets.input import Framing

if TYPE_CHECKING:
    import onnx

__all__ = ["parse_size", "with_camera"]


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from text such as 640x480, width first as is usual for cameras. Raises UsageError."""
    width, by, height = text.lower().partition("x")
    least, most = CAMERA_SIDES
    sides = [int(side) for side in (width, height) if side.isdecimal()]
    if not (by and len(sides) == 2 and all(least <= side <= most for side in sides)):
        raise UsageError(
            f"{text!r} is not a camera size",
            fix=f"Use width and height of {least} to {most} pixels, such as 640x480",
        )
    return int(height), int(width)


def with_camera(model: onnx.ModelProto, framing: Framing, camera: tuple[int, int]) -> onnx.ModelProto:
    """A copy whose `image` is uint8 [N, *camera, 3]: frames as a camera gives them, framed inside as `framing` says."""
    from onnx import TensorProto, helper, numpy_helper

    copy = copy_model(model)
    height, width = camera
    left, top, right, bottom = framing.box(height, width)
    rows = numpy_helper.from_array(_matrix(height, top, bottom, framing.height), "camera.rows")
    columns = numpy_helper.from_array(_matrix(width, left, right, framing.width).T.copy(), "camera.columns")
    for node in copy.graph.node:
        for index, name in enumerate(node.input):
            if name == "image":
                node.input[index] = "camera.framed"  # float, not uint8: the Cast to float that follows takes either
    front = [
        helper.make_node("Cast", ["image"], ["camera.float"], name="camera.float", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["camera.float"], ["camera.nchw"], name="camera.nchw", perm=[0, 3, 1, 2]),
        helper.make_node("MatMul", ["camera.nchw", "camera.columns"], ["camera.narrow"], name="camera.narrow"),
        helper.make_node("MatMul", ["camera.rows", "camera.narrow"], ["camera.small"], name="camera.small"),
        helper.make_node("Transpose", ["camera.small"], ["camera.framed"], name="camera.framed", perm=[0, 2, 3, 1]),
    ]
    nodes = [*front, *copy.graph.node]
    del copy.graph.node[:], copy.graph.value_info[:]
    copy.graph.node.extend(nodes)
    copy.graph.initializer.extend([rows, columns])
    frame = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", height, width, 3])
    copy.graph.input[0].CopyFrom(frame)
    return copy


def _matrix(size: int, start: float, end: float, wanted: int) -> NDArray[np.float32]:
    """Resampling of `size` values to `wanted`, as a matrix [wanted, size]."""
    places, weights = resampling(size, start, end, wanted)
    matrix = np.zeros((wanted, size), np.float32)
    np.add.at(matrix, (np.arange(wanted)[:, None], places), weights)
    return matrix
