"""Upsample and Resize: the coordinates of every mode are computed when the network is imported.

If they equal those of torch.nn.functional.interpolate, torch does the work; otherwise rows and columns are picked or
blended.
The formulas are from the ONNX operator documentation, Resize. They are computed in float32, as in onnxruntime: in
float64 a scale such as 0.7, which was stored in float32, gives another size and other pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.models.onnx_import.op import Op

__all__ = ["resize", "upsample"]

_IGNORED = (0, 1)  # batch and channels are never resized
_HALF = 1e-6  # a position this close to the middle between two pixels counts as the middle, as in onnxruntime


def upsample(op: Op) -> nn.Module:
    """Upsample of opsets 7 and 9: asymmetric coordinates, nearest neighbour by flooring."""
    scales = op.attributes.get("scales")
    constant = op.constant(1) if scales is None else np.asarray(scales, dtype=np.float32)
    if constant is None:
        raise op.refusal("states no scales")
    height, width = _scaled(op, constant)
    mode = op.attributes.get("mode", "nearest")
    return _build(op, (height, width), constant[2:], mode, "asymmetric", "floor")


def resize(op: Op) -> nn.Module:
    if op.opset == 10:
        scales = op.constant(1)
        assert scales is not None
        mode = op.attributes.get("mode", "nearest")
        return _build(op, _scaled(op, scales), scales[2:], mode, "asymmetric", "simple")
    if op.attributes.get("antialias", 0) or op.attributes.get("exclude_outside", 0):
        raise op.refusal("resizes with antialias or exclude_outside")
    if op.attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise op.refusal("resizes with a keep_aspect_ratio_policy")
    axes = tuple(int(axis) % 4 for axis in op.attributes.get("axes", (0, 1, 2, 3)))
    sizes, scales = op.constant(3), op.constant(2)
    height, width = op.data.shape[2:]
    if sizes is not None and sizes.size:
        stated = dict(zip(axes, (int(size) for size in sizes), strict=True))
        size = (stated.get(2, height), stated.get(3, width))
        op.bounded((*op.data.shape[:2], *size))
        factors = (np.array(size) / np.array((height, width))).astype(np.float32)
    elif scales is not None and scales.size:
        factors = np.ones(4, np.float32)
        factors[list(axes)] = scales
        size = _scaled(op, factors)
        factors = factors[2:]
    else:
        raise op.refusal("states neither scales nor sizes")
    coordinates = op.attributes.get("coordinate_transformation_mode", "half_pixel")
    nearest = op.attributes.get("nearest_mode", "round_prefer_floor")
    mode = op.attributes.get("mode", "nearest")
    if mode == "cubic" and float(op.attributes.get("cubic_coeff_a", -0.75)) != -0.75:
        raise op.refusal("has a cubic_coeff_a other than -0.75")
    return _build(op, size, factors, mode, coordinates, nearest)


class _Pick(nn.Module):
    """Nearest neighbours at precomputed rows and columns."""

    rows: Tensor
    columns: Tensor

    def __init__(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> None:
        super().__init__()
        self.register_buffer("rows", torch.from_numpy(rows))
        self.register_buffer("columns", torch.from_numpy(columns))

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(2, self.rows).index_select(3, self.columns)


class _Blend(nn.Module):
    """Linear interpolation at precomputed fractional rows and columns."""

    def __init__(self, rows: NDArray[np.float32], columns: NDArray[np.float32], size: tuple[int, int]) -> None:
        super().__init__()
        for name, at, length in (("rows", rows, size[0]), ("columns", columns, size[1])):
            at = at.clip(0, length - 1)
            low = np.floor(at).astype(np.int64)
            self.register_buffer(f"{name}_low", torch.from_numpy(low))
            self.register_buffer(f"{name}_high", torch.from_numpy(np.minimum(low + 1, length - 1)))
            self.register_buffer(f"{name}_share", torch.from_numpy(at - low.astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        # autocast does not convert the arguments of lerp, and x may be in half precision
        rows = self.get_buffer("rows_share").view(-1, 1).to(x.dtype)
        columns = self.get_buffer("columns_share").to(x.dtype)
        x = torch.lerp(
            x.index_select(2, self.get_buffer("rows_low")), x.index_select(2, self.get_buffer("rows_high")), rows
        )
        return torch.lerp(
            x.index_select(3, self.get_buffer("columns_low")),
            x.index_select(3, self.get_buffer("columns_high")),
            columns,
        )


def _build(
    op: Op, size: tuple[int, int], scales: NDArray[np.float32], mode: str, coordinates: str, nearest: str
) -> nn.Module:
    if len(op.data.shape) != 4:
        raise op.refusal("resizes something other than pictures")
    before = (op.data.shape[2], op.data.shape[3])
    scales = scales.astype(np.float32)
    if before == size:
        return nn.Identity()
    at = [_source(op, coordinates, old, new, scale) for old, new, scale in zip(before, size, scales, strict=True)]
    if mode == "nearest":
        picked = [
            _round(op, nearest, source, scale).clip(0, old - 1).astype(np.int64)
            for source, old, scale in zip(at, before, scales, strict=True)
        ]
        plain = [_torch_picks(old, new) for old, new in zip(before, size, strict=True)]
        if all(np.array_equal(one, other) for one, other in zip(picked, plain, strict=True)):
            return nn.Upsample(size=size, mode="nearest")
        return _Pick(picked[0], picked[1])
    for aligned in (False, True):
        torch_mode = "half_pixel" if not aligned else "align_corners"
        ours = [
            _source(op, torch_mode, old, new, np.float32(new) / np.float32(old))
            for old, new in zip(before, size, strict=True)
        ]
        if all(np.allclose(one, other, atol=1e-6) for one, other in zip(at, ours, strict=True)):
            return nn.Upsample(size=size, mode="bilinear" if mode == "linear" else "bicubic", align_corners=aligned)
    if mode != "linear":
        raise op.refusal(f"resizes with {mode} and {coordinates}")
    return _Blend(at[0], at[1], before)


def _scaled(op: Op, scales: NDArray[Any]) -> tuple[int, int]:
    if len(scales) != 4 or any(scales[axis] != 1 for axis in _IGNORED):
        raise op.refusal(f"resizes by {[float(scale) for scale in scales]}; only height and width can change")
    height, width = (
        int(np.floor(np.float32(old) * np.float32(scale)))
        for old, scale in zip(op.data.shape[2:], scales[2:], strict=True)
    )
    op.bounded((*op.data.shape[:2], height, width))
    return height, width


def _source(op: Op, coordinates: str, old: int, new: int, scale: np.float32) -> NDArray[np.float32]:
    """The position of each of `new` pixels among `old` ones."""
    index = np.arange(new, dtype=np.float32)
    if coordinates == "asymmetric":
        return index / scale
    if coordinates == "align_corners":
        return index * np.float32(old - 1) / np.float32(new - 1) if new > 1 else np.zeros_like(index)
    if coordinates == "pytorch_half_pixel" and new == 1:
        return np.zeros_like(index)
    if coordinates == "tf_half_pixel_for_nn":
        return (index + 0.5) / scale
    if coordinates == "half_pixel_symmetric":
        centre = np.float32(old / 2) * (np.float32(1) - np.float32(new) / (np.float32(old) * scale))
        middle = (index.astype(np.float64) + 0.5) / np.float64(scale) - 0.5  # the only one in float64 in onnxruntime
        return (np.float64(centre) + middle).astype(np.float32)
    if coordinates in ("half_pixel", "pytorch_half_pixel"):
        return (index + 0.5) / scale - 0.5
    raise op.refusal(f"resizes with the coordinates {coordinates}")


def _round(op: Op, nearest: str, source: NDArray[np.float32], scale: np.float32) -> NDArray[Any]:
    if nearest == "simple":  # opset 10 does not specify it
        nearest = "ceil" if scale < 1 else "floor"
    if nearest == "floor":
        return np.floor(source)
    if nearest == "ceil":
        return np.ceil(source)
    if nearest == "round_prefer_floor":
        return np.ceil(source.astype(np.float64) - 0.5 - _HALF)
    if nearest == "round_prefer_ceil":
        return np.floor(source.astype(np.float64) + 0.5 + _HALF)
    raise op.refusal(f"resizes with the nearest_mode {nearest}")


def _torch_picks(old: int, new: int) -> NDArray[np.int64]:
    """The `old` pixels that torch's nearest mode picks, whose floating-point rounding differs from exact arithmetic."""
    pixels = torch.arange(old, dtype=torch.float32).view(1, 1, -1)
    return F.interpolate(pixels, size=new, mode="nearest").view(-1).long().numpy()
