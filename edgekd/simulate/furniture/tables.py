"""Tables and desks."""

from __future__ import annotations

import numpy as np

from edgekd.simulate.palette import Palette
from edgekd.simulate.shapes import Part, box, cylinder, tilted

__all__ = ["coffee_table", "console_table", "desk", "dining_table", "folding_table", "round_table", "side_table"]


def _four_legs(width: float, depth: float, height: float, leg: float, palette: Palette) -> list[Part]:
    material = palette.wood() if palette.rng.random() < 0.7 else palette.metal()
    x, y = width / 2 - leg, depth / 2 - leg
    return [box(leg, leg, height, material, x=sx * x, y=sy * y) for sx in (-1, 1) for sy in (-1, 1)]


def dining_table(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, depth, height = rng.uniform(1.1, 2.0), rng.uniform(0.75, 0.95), rng.uniform(0.72, 0.77)
    top = box(width, depth, 0.035, palette.wood(), z=height - 0.035, holds="table")
    return [top, *_four_legs(width, depth, height - 0.035, rng.uniform(0.04, 0.08), palette)]


def round_table(rng: np.random.Generator, palette: Palette) -> list[Part]:
    radius, height, frame = rng.uniform(0.4, 0.65), rng.uniform(0.72, 0.76), palette.lacquer()
    top = cylinder(radius, 0.03, frame, z=height - 0.03, segments=24, holds="table")
    return [top, cylinder(0.05, height, frame, segments=10), cylinder(0.28, 0.03, frame, segments=16)]


def coffee_table(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, depth, height = rng.uniform(0.8, 1.25), rng.uniform(0.5, 0.7), rng.uniform(0.36, 0.46)
    top = box(width, depth, 0.04, palette.lacquer(), z=height - 0.04, holds="table")
    shelf = (
        [box(width - 0.1, depth - 0.1, 0.02, palette.wood(), z=0.12, holds="shelf", room=0.18)]
        if rng.random() < 0.5
        else []
    )
    return [top, *shelf, *_four_legs(width, depth, height - 0.04, 0.05, palette)]


def side_table(rng: np.random.Generator, palette: Palette) -> list[Part]:
    size, height = rng.uniform(0.4, 0.55), rng.uniform(0.42, 0.62)
    top = box(size, size * rng.uniform(0.8, 1), 0.03, palette.wood(), z=height - 0.03, holds="bedside")
    return [top, *_four_legs(size, size * 0.8, height - 0.03, 0.035, palette)]


def desk(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, depth, height = rng.uniform(1.1, 1.7), rng.uniform(0.6, 0.8), rng.uniform(0.71, 0.76)
    frame = palette.lacquer()
    parts = [box(width, depth, 0.03, frame, z=height - 0.03, holds="desk")]
    if rng.random() < 0.6:
        chest = 0.4
        parts.append(box(chest, depth - 0.06, height - 0.03, frame, x=width / 2 - chest / 2))
        for number in range(3):
            z = 0.03 + number * (height - 0.09) / 3
            parts.append(
                box(
                    chest - 0.03,
                    0.015,
                    (height - 0.12) / 3,
                    palette.lacquer(),
                    x=width / 2 - chest / 2,
                    y=depth / 2 - 0.025,
                    z=z,
                )
            )
        parts.append(box(0.03, depth - 0.06, height - 0.03, frame, x=-width / 2 + 0.015))
        return parts
    return parts + _four_legs(width, depth, height - 0.03, 0.045, palette)


def console_table(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, height = rng.uniform(0.8, 1.3), rng.uniform(0.75, 0.85)
    top = box(width, 0.34, 0.03, palette.wood(), z=height - 0.03, holds="top")
    return [top, *_four_legs(width, 0.34, height - 0.03, 0.04, palette)]


def folding_table(rng: np.random.Generator, palette: Palette) -> list[Part]:
    steel = palette.metal()
    top = box(1.5, 0.72, 0.04, palette.white(), z=0.71, holds="table")
    legs = [
        tilted(box(0.03, 0.03, 0.73, steel, x=sx * 0.6, y=sy * 0.1), -sy * 0.25, y=sy * 0.1)
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    return [top, *legs]
