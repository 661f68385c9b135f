"""Upsample and Resize: the coordinates of every mode are worked out when the network is imported.

Where they are those of torch.nn.functional.interpolate it does the work; elsewhere rows and columns are picked
or blended.
Formulas: the ONNX operator documentation, Resize.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekd.models.onnx_import.op import Op

__all__ = ["resize", "upsample"]

_IGNORED = (0, 1)  # batch and channels are never resized


def upsample(op: Op) -> nn.Module:
    """Upsample of opset 7 and 9: asymmetric coordinates, nearest by flooring."""
    scales = op.attributes.get("scales")
    constant = op.constant(1) if scales is None else np.asarray(scales, dtype=np.float64)
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
        return _build(op, _scaled(op, scales), scales[2:], mode, "asymmetric", "floor")
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
        factors = np.array([size[0] / height, size[1] / width])
    elif scales is not None and scales.size:
        factors = np.ones(4)
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
    """Nearest neighbours at rows and columns worked out before."""

    rows: Tensor
    columns: Tensor

    def __init__(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> None:
        super().__init__()
        self.register_buffer("rows", torch.from_numpy(rows))
        self.register_buffer("columns", torch.from_numpy(columns))

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(2, self.rows).index_select(3, self.columns)


class _Blend(nn.Module):
    """Linear interpolation at rows and columns (fractional, worked out before)."""

    def __init__(self, rows: NDArray[np.float64], columns: NDArray[np.float64], size: tuple[int, int]) -> None:
        super().__init__()
        for name, at, length in (("rows", rows, size[0]), ("columns", columns, size[1])):
            at = at.clip(0, length - 1)
            low = np.floor(at).astype(np.int64)
            self.register_buffer(f"{name}_low", torch.from_numpy(low))
            self.register_buffer(f"{name}_high", torch.from_numpy(np.minimum(low + 1, length - 1)))
            self.register_buffer(f"{name}_share", torch.from_numpy((at - low).astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.get_buffer("rows_share").view(-1, 1)
        columns = self.get_buffer("columns_share")
        x = torch.lerp(
            x.index_select(2, self.get_buffer("rows_low")), x.index_select(2, self.get_buffer("rows_high")), rows
        )
        return torch.lerp(
            x.index_select(3, self.get_buffer("columns_low")),
            x.index_select(3, self.get_buffer("columns_high")),
            columns,
        )


def _build(
    op: Op, size: tuple[int, int], scales: NDArray[np.float64], mode: str, coordinates: str, nearest: str
) -> nn.Module:
    if len(op.data.shape) != 4:
        raise op.refusal("resizes something other than pictures")
    before = (op.data.shape[2], op.data.shape[3])
    if before == size:
        return nn.Identity()
    at = [
        _source(op, coordinates, old, new, float(scale), mode)
        for old, new, scale in zip(before, size, scales, strict=True)
    ]
    if mode == "nearest":
        picked = [
            _round(op, nearest, source).clip(0, old - 1).astype(np.int64)
            for source, old in zip(at, before, strict=True)
        ]
        plain = [np.arange(new) * old // new for old, new in zip(before, size, strict=True)]
        if all(np.array_equal(one, other) for one, other in zip(picked, plain, strict=True)):
            return nn.Upsample(size=size, mode="nearest")
        return _Pick(picked[0], picked[1])
    for aligned in (False, True):
        torch_mode = "half_pixel" if not aligned else "align_corners"
        ours = [_source(op, torch_mode, old, new, new / old, mode) for old, new in zip(before, size, strict=True)]
        if all(np.allclose(one, other, atol=1e-6) for one, other in zip(at, ours, strict=True)):
            return nn.Upsample(size=size, mode="bilinear" if mode == "linear" else "bicubic", align_corners=aligned)
    if mode != "linear":
        raise op.refusal(f"resizes with {mode} and {coordinates}")
    return _Blend(at[0], at[1], before)


def _scaled(op: Op, scales: NDArray[np.float64]) -> tuple[int, int]:
    if len(scales) != 4 or any(scales[axis] != 1 for axis in _IGNORED):
        raise op.refusal(f"resizes by {[float(scale) for scale in scales]}; only height and width can change")
    height, width = (
        int(np.floor(old * float(scale))) for old, scale in zip(op.data.shape[2:], scales[2:], strict=True)
    )
    op.bounded((*op.data.shape[:2], height, width))
    return height, width


def _source(op: Op, coordinates: str, old: int, new: int, scale: float, mode: str) -> NDArray[np.float64]:
    """Where each of `new` pixels lies among `old` ones."""
    index = np.arange(new, dtype=np.float64)
    if coordinates == "asymmetric":
        return index / scale
    if coordinates == "align_corners":
        return index * (old - 1) / (new - 1) if new > 1 else np.zeros(1)
    if coordinates == "pytorch_half_pixel" and new == 1:
        return np.zeros(1)
    if coordinates == "tf_half_pixel_for_nn":
        return (index + 0.5) / scale
    if coordinates == "half_pixel_symmetric":
        centre = old / 2 * (1 - new / (old * scale))
        return centre + (index + 0.5) / scale - 0.5
    if coordinates in ("half_pixel", "pytorch_half_pixel"):
        return (index + 0.5) / scale - 0.5
    raise op.refusal(f"resizes with the coordinates {coordinates}")


def _round(op: Op, nearest: str, source: NDArray[np.float64]) -> NDArray[np.float64]:
    if nearest == "floor":
        return np.floor(source + 1e-9)
    if nearest == "ceil":
        return np.ceil(source - 1e-9)
    if nearest == "round_prefer_floor":
        return np.ceil(source - 0.5 - 1e-9)
    if nearest == "round_prefer_ceil":
        return np.floor(source + 0.5 + 1e-9)
    raise op.refusal(f"resizes with the nearest_mode {nearest}")
