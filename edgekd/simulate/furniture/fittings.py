"""What hangs on walls and ceilings, and what lies or stands about."""

from __future__ import annotations

import numpy as np

from edgekd.simulate.palette import Palette
from edgekd.simulate.shapes import Part, box, cushion, cylinder, drape, panel, tilted, turned

__all__ = ["ceiling_lamp", "curtain", "floor_lamp", "picture", "potted_tree", "rug", "wall_shelf"]


def picture(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, height = rng.uniform(0.25, 0.9), rng.uniform(0.25, 0.75)
    return [
        box(width, 0.03, height, palette.lacquer()),
        panel(width - 0.05, height - 0.05, palette.printed(), y=0.017, z=0.025),
    ]


def wall_shelf(rng: np.random.Generator, palette: Palette) -> list[Part]:
    return [box(rng.uniform(0.5, 1.2), rng.uniform(0.18, 0.28), 0.025, palette.wood(), holds="shelf", room=0.4)]


def curtain(rng: np.random.Generator, palette: Palette) -> list[Part]:
    return [drape(rng.uniform(0.4, 0.8), rng.uniform(1.9, 2.2), palette.fabric(), folds=int(rng.integers(4, 8)))]


def rug(rng: np.random.Generator, palette: Palette) -> list[Part]:
    return [box(rng.uniform(1.4, 2.6), rng.uniform(1.0, 1.8), 0.012, palette.rug())]


def floor_lamp(rng: np.random.Generator, palette: Palette) -> list[Part]:
    height, pole = rng.uniform(1.25, 1.6), palette.metal()
    radius = rng.uniform(0.15, 0.24)
    return [
        cylinder(0.14, 0.025, pole, segments=14),
        cylinder(0.014, height, pole, segments=6),
        cylinder(radius, 0.28, palette.glow(1.3), z=height, top=radius * 0.7, segments=16),
    ]


def ceiling_lamp(rng: np.random.Generator, palette: Palette) -> list[Part]:
    drop, radius = rng.uniform(0.15, 0.6), rng.uniform(0.15, 0.25)
    return [
        cylinder(0.008, drop, palette.dark(), z=0.2, segments=5),
        cylinder(radius, 0.2, palette.glow(1.5), top=radius * 0.6, segments=16),
    ]


def potted_tree(rng: np.random.Generator, palette: Palette) -> list[Part]:
    height, leaf = rng.uniform(0.7, 1.6), palette.leaf()
    parts = [
        cylinder(0.14, 0.3, palette.plastic(), top=0.18, segments=14),
        cylinder(0.02, height, palette.wood(), z=0.2, segments=6),
    ]
    for _ in range(16):
        z = rng.uniform(0.45, 1.0) * height + 0.1
        blade = tilted(
            cushion(0.14, 0.03, rng.uniform(0.25, 0.5), leaf, z=z, roundness=1.0), rng.uniform(0.4, 1.5), z=z
        )
        parts.append(turned(blade, rng.uniform(0, 6.28)))
    return parts
