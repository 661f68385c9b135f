"""What a surface is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekd.simulate.meshes.tiles import Tile

__all__ = ["Colour", "Material"]

Colour = tuple[float, float, float]
"""Linear RGB reflectance (or emitted radiance), 0..1 for what reflects."""


@dataclass(frozen=True)
class Material:
    """A pattern in three colours: c0 + a (c1 - c0) + b (c2 - c0), times the pattern's shade (see patterns.py)."""

    pattern: str
    colours: tuple[Colour, Colour, Colour]
    scale: float = 1.0  # metres that one tile of the pattern covers
    gloss: float = 0.0  # strength of the highlight, 0..1
    emits: float = 0.0  # radiance that the surface emits, times its colour
    stretch: bool = False  # the pattern fills the surface once, as a picture does, whatever its size
    tile: Tile | None = None  # a picture of its own, in place of the pattern
