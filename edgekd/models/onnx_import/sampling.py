"""GridSample: looks up features at given positions, as in warping."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.models.onnx_import.op import Function, Op

__all__ = ["grid_sample"]

_MODES = {
    "linear": "bilinear", "bilinear": "bilinear", "nearest": "nearest", "cubic": "bicubic", "bicubic": "bicubic",
}  # fmt: skip


def grid_sample(op: Op) -> nn.Module:
    mode = _MODES.get(op.attributes.get("mode", "linear"))
    if mode is None or len(op.data.shape) != 4 or op.operand(0).constant is not None:
        raise op.refusal("samples something other than features of the picture")
    op.bounded((*op.data.shape[:2], *op.operand(1).shape[1:3]))
    settings = {
        "mode": mode,
        "padding_mode": op.attributes.get("padding_mode", "zeros"),
        "align_corners": bool(op.attributes.get("align_corners", 0)),
    }
    if op.operand(1).constant is None:
        return Function(F.grid_sample, **settings)
    return _Lookup(op.weights(1), settings)


class _Lookup(nn.Module):
    """GridSample at constant positions."""

    grid: Tensor

    def __init__(self, grid: Tensor, settings: dict[str, Any]) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("grid", grid)

    def forward(self, x: Tensor) -> Tensor:
        grid = self.grid.to(x.dtype).expand(len(x), *self.grid.shape[1:])
        return F.grid_sample(x, grid, **self.settings)
