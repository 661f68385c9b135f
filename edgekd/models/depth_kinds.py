"""What a network's number means, which is decided by name and never guessed from values:

    metric     metres
    relative   proportional to depth; the unit is unknown
    inverse    proportional to 1/depth, as disparity is (MiDaS, Monodepth2, DPT); an unknown shift is taken as 0

Of relative and inverse depth the unit is set so that the median over test pictures is that of a room; distances keep
their ratios, and metres are only a name.
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
UNIT_OF_ITS_OWN = "its metres are a unit of their own, and only ratios mean something"
_PICTURES = 2  # as many as every other check feeds: a network may be fixed to them


class DepthOfKind(nn.Module):
    """Wraps a network whose output [N, 1, H, W] is depth of a kind: it gives depth."""

    def __init__(self, network: nn.Module, kind: str) -> None:
        super().__init__()
        self.network, self.kind = network, kind
        self.register_buffer("unit", torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        raw = self.read(x)
        if self.kind == "inverse":
            # A hundred times as far as what is typical is as far as it goes: a disparity of 0 is infinitely far.
            raw = 1 / torch.maximum(raw, 0.01 / TYPICAL_DEPTH * self.get_buffer("unit"))
        depth: Tensor = raw * self.get_buffer("unit")
        return depth

    def read(self, x: Tensor) -> Tensor:
        """What the network gives, [N, 1, H, W]."""
        raw: Tensor = self.network(x)
        return raw

    @torch.no_grad()
    def choose_unit(self, input: InputSpec) -> None:  # noqa: A002 - the field's own name
        """Set the unit. Raises ModelError when what the network gives is not finite, or not positive."""
        pictures = torch.from_numpy(probe_pictures(input.height, input.width, _PICTURES))
        raw = self.read(NormalisePictures(input)(pictures))
        if not torch.isfinite(raw).all():
            raise ModelError("The network gives NaN or infinite depth", fix="Save or copy the model again")
        middle = float(raw.clamp_min(0).median())
        if not middle > 0:
            raise ModelError(
                f"The median of its output is {middle:g}, so it is no {self.kind} depth",
                fix=f"Check its weights, or say behind its name which kind it is: @{' or @'.join(DEPTH_KINDS)}",
            )
        self.get_buffer("unit").fill_(TYPICAL_DEPTH * middle if self.kind == "inverse" else TYPICAL_DEPTH / middle)


def require_kind(kind: str) -> None:
    """Raise UsageError for what is not one of DEPTH_KINDS."""
    if kind not in DEPTH_KINDS:
        raise UsageError(f"There is no kind of depth {kind!r}", fix=f"Say @{', @'.join(DEPTH_KINDS)}")


def as_kind(teacher: Teacher, kind: str) -> Teacher:
    """The teacher, checked before, with its depth read as one of DEPTH_KINDS. Raises ModelError where it cannot be."""
    source = f"{teacher.source}, read as {kind} depth"
    if kind == "metric":
        return replace(teacher, source=source, metric=True)
    module = DepthOfKind(teacher.module, kind).eval()
    module.choose_unit(teacher.input)
    return replace(
        teacher,
        name=f"{teacher.name}-{kind}",  # its runs are others than those of the same file taken for metres
        module=module,
        digest=sha256_bytes(f"{teacher.digest} {kind}".encode()),  # not of the unit, which a processor rounds
        source=source,
        metric=False,
    )
