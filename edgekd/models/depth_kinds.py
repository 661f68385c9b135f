"""The kinds of depth that a network may output, stated by name and never guessed from values:

    metric     metres
    relative   proportional to depth; the unit is unknown
    inverse    proportional to 1/depth, as disparity is (MiDaS, Monodepth2, DPT); an unknown shift is taken as 0

For relative and inverse depth, the unit is set so that the median over test pictures is that of a room. Only ratios of
distances are meaningful: the metres are nominal.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from calibration.errors import ModelError, UsageError
from calibration.files import sha256_bytes
from edgekd.models.blocks import TYPICAL_DEPTH
from edgekd.models.pictures import NormalisePictures, probe_pictures
from edgekd.models.teacher import Teacher
from targets.input import InputSpec

__all__ = ["DEPTH_KINDS", "UNIT_OF_ITS_OWN", "DepthOfKind", "as_kind", "require_kind"]

DEPTH_KINDS = ("metric", "relative", "inverse")
UNIT_OF_ITS_OWN = "its unit is unknown, though labelled metres, and only ratios are meaningful"
_PICTURES = 2  # the batch size of every other check: a network may be fixed to it


class DepthOfKind(nn.Module):
    """Wraps a network whose output [N, 1, H, W] is of one of DEPTH_KINDS, and returns depth."""

    def __init__(self, network: nn.Module, kind: str) -> None:
        super().__init__()
        self.network, self.kind = network, kind
        self.register_buffer("unit", torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        raw = self.read(x)
        if self.kind == "inverse":
            # Depth is limited to a hundred times the typical one, as a disparity of 0 would be infinitely far.
            raw = 1 / torch.maximum(raw, 0.01 / TYPICAL_DEPTH * self.get_buffer("unit"))
        depth: Tensor = raw * self.get_buffer("unit")
        return depth

    def read(self, x: Tensor) -> Tensor:
        """The network's raw output, [N, 1, H, W]."""
        raw: Tensor = self.network(x)
        return raw

    @torch.no_grad()
    def choose_unit(self, input: InputSpec) -> None:  # noqa: A002 - the field's own name
        """Set the unit. Raises ModelError when the network's output is not finite, or its median not positive."""
        pictures = torch.from_numpy(probe_pictures(input.height, input.width, _PICTURES))
        raw = self.read(NormalisePictures(input)(pictures))
        if not torch.isfinite(raw).all():
            raise ModelError("The network outputs NaN or infinite depth", fix="Save or copy the model again")
        middle = float(raw.clamp_min(0).median())
        if not middle > 0:
            raise ModelError(
                f"The median of its output is {middle:g}, so it is not {self.kind} depth",
                fix=f"Check its weights, or append its kind to its name: @{' or @'.join(DEPTH_KINDS)}",
            )
        self.get_buffer("unit").fill_(TYPICAL_DEPTH * middle if self.kind == "inverse" else TYPICAL_DEPTH / middle)


def require_kind(kind: str) -> None:
    """Raise UsageError unless `kind` is one of DEPTH_KINDS."""
    if kind not in DEPTH_KINDS:
        raise UsageError(f"There is no kind of depth named {kind!r}", fix=f"Use @{', @'.join(DEPTH_KINDS)}")


def as_kind(teacher: Teacher, kind: str) -> Teacher:
    """The teacher, already checked, with its output read as one of DEPTH_KINDS. Raises ModelError if it cannot be."""
    source = f"{teacher.source}, read as {kind} depth"
    if kind == "metric":
        return replace(teacher, source=source, metric=True)
    module = DepthOfKind(teacher.module, kind).eval()
    module.choose_unit(teacher.input)
    return replace(
        teacher,
        name=f"{teacher.name}-{kind}",  # keeps its runs apart from those of the same file read as metres
        module=module,
        digest=sha256_bytes(f"{teacher.digest} {kind}".encode()),  # without the unit, whose rounding depends on the CPU
        source=source,
        metric=False,
    )
