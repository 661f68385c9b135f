"""Protocols: the named ways to score depth. A figure without its protocol's name means nothing.

Figures of two protocols are never put in one column: they differ in pixels, range and resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from calibration.errors import UnknownNameError, UsageError
from targets.input import Framing

__all__ = ["PROTOCOLS", "Crop", "ScoringProtocol", "get_protocol"]


@dataclass(frozen=True)
class Crop:
    """Rows [top, bottom) and columns [left, right) that are scored, as shares of the depth's height and width."""

    top: float
    bottom: float
    left: float
    right: float
    only: tuple[int, int] | None = None  # (height, width) the crop is defined for; None: any

    def __post_init__(self) -> None:
        if not (0 <= self.top < self.bottom <= 1 and 0 <= self.left < self.right <= 1):
            raise UsageError(
                f"{self} has no pixels", fix="Use fractions 0 <= top < bottom <= 1, and left < right likewise"
            )

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(top, bottom, left, right) in pixels, rounded down as the authors of these crops do."""
        slack = 1e-9  # 45 / 480 * 480 must be 45, but the authors take 366 for 0.99189189 * 370
        top, bottom = int(self.top * height + slack), int(self.bottom * height + slack)
        return top, bottom, int(self.left * width + slack), int(self.right * width + slack)


@dataclass(frozen=True)
class ScoringProtocol:
    """Which pixels are scored, at which resolution, and how a prediction is bounded.

    `grid` "network": the truth is framed by nearest neighbour as the network's input was, pixel against pixel.
    `grid` "depth": the prediction is sampled bilinearly at the pixel centres of the truth, through the box of the
    picture that the network saw; truth outside that box is not scored, and the share that was seen is part of the
    result. With `framing`, the truth is first framed that way, by nearest neighbour, and sampled at the new grid.
    """

    name: str
    about: str  # one line for people
    low: float  # metres; truth at or below is not scored
    high: float  # metres; truth at or above is not scored
    clamp: tuple[float, float]  # metres; predictions are clamped to it after alignment
    grid: Literal["network", "depth"] = "network"
    crop: Crop | None = None
    framing: Framing | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.low < self.high and 0 < self.clamp[0] < self.clamp[1] < float("inf")):
            raise UsageError(
                f"Protocol {self.name!r} has an impossible depth range", fix="Use 0 <= low < high and a finite clamp"
            )
        if self.grid == "network" and (self.crop is not None or self.framing is not None):
            raise UsageError(f"Protocol {self.name!r} crops the network's own grid", fix='Use grid="depth"')


# The crops are those of the authors' evaluation code: D. Eigen et al. 2014 for NYU and KITTI (rows 45-471 and columns
# 41-601 of 480x640), R. Garg et al. 2016 for KITTI.
_NYU_EIGEN = Crop(45 / 480, 471 / 480, 41 / 640, 601 / 640, only=(480, 640))
_KITTI_EIGEN = Crop(0.3324324, 0.91351351, 0.0359477, 0.96405229)
_KITTI_GARG = Crop(0.40810811, 0.99189189, 0.03594771, 0.96405229)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        ScoringProtocol("plain", "0.1-10 m, all that the network saw, at its resolution", 0.1, 10.0, (0.1, 10.0)),
        ScoringProtocol(
            "nyu-eigen",
            "NYU Depth v2, Eigen's crop of 480x640, up to 10 m, at the depth's resolution",
            1e-3,
            10.0,
            (1e-3, 10.0),
            grid="depth",
            crop=_NYU_EIGEN,
        ),
        ScoringProtocol(
            "nyu-hu",
            "NYU Depth v2 as Hu et al.: height 240, centre 304x228, no range",
            0.0,
            float("inf"),
            (1e-3, 100.0),  # only so that an infinite prediction has a finite error
            grid="depth",
            framing=Framing(228, 304, resize_height=240, crop=(228, 304)),
        ),
        ScoringProtocol(
            "kitti-eigen",
            "KITTI, Eigen's crop, up to 80 m, at the depth's resolution",
            1e-3,
            80.0,
            (1e-3, 80.0),
            grid="depth",
            crop=_KITTI_EIGEN,
        ),
        ScoringProtocol(
            "kitti-garg",
            "KITTI, Garg's crop, up to 80 m, at the depth's resolution",
            1e-3,
            80.0,
            (1e-3, 80.0),
            grid="depth",
            crop=_KITTI_GARG,
        ),
        ScoringProtocol("scannet", "0-6 m, all that the network saw, at its resolution", 0.0, 6.0, (1e-3, 6.0)),
    )
}
"""To add a protocol, add an entry here."""


def get_protocol(name: str) -> ScoringProtocol:
    """The protocol of that name. Raises UnknownNameError."""
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
