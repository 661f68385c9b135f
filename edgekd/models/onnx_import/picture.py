"""The input of an ONNX graph: RGB pictures of one size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from calibration.errors import ModelError
from edgekd.models.input_file import INPUT_EXAMPLE

__all__ = ["Picture", "find_picture"]

_MOST_PIXELS = 1 << 24
_FLOATS = ("float", "float16", "double")  # ONNX's names; the last two are converted to float32


@dataclass(frozen=True)
class Picture:
    """The only input of a graph, and its type by ONNX's name."""

    name: str
    height: int
    width: int
    kind: str

    @property
    def remarks(self) -> tuple[str, ...]:
        return () if self.kind == "float" else (f"takes {self.kind} pictures: it is computed in float32",)


def find_picture(model: onnx.ModelProto, path: Path, size: tuple[int, int] | None) -> Picture:
    """The only input [N, 3, H, W]; `size` (H, W) is for a graph that leaves both open.

    Raises ModelError unless it is RGB pictures of a known size.
    """
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in given]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise ModelError(f"{path} has the inputs {names}; a single picture is needed", fix="Export it with one input")
    tensor = inputs[0].type.tensor_type
    dims = [int(dim.dim_value) if dim.dim_value > 0 else None for dim in tensor.shape.dim]  # some write -1 for unknown
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    if kind not in _FLOATS:
        raise ModelError(f"{path} takes {kind} pictures, not {' or '.join(_FLOATS)}", fix="Export it in float32")
    if len(dims) != 4 or dims[1] not in (3, None) or (dims[1] is None and size is None):
        shape = [dim if dim is not None else "?" for dim in dims]
        raise ModelError(f"{path} takes {shape}; pictures [N, 3, H, W] are needed", fix="Export it for RGB pictures")
    height, width = (dims[2], dims[3]) if size is None else size
    if height is None or width is None:
        raise ModelError(
            f"{path} does not state its height and width",
            fix=f"State them in {path.name}.input.json beside it, such as {INPUT_EXAMPLE}",
        )
    if dims[2] not in (height, None) or dims[3] not in (width, None):
        own = "x".join("?" if dim is None else str(dim) for dim in dims[2:])
        raise ModelError(f"{path} takes {own} pictures, not {height}x{width}", fix="State its own size")
    if not 0 < height * width <= _MOST_PIXELS:
        raise ModelError(f"{path} declares pictures of {height}x{width}", fix="Export it for a size that can be run")
    return Picture(inputs[0].name, height, width, kind)
