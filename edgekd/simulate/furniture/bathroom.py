"""Bathrooms."""

from __future__ import annotations

import numpy as np

from edgekd.simulate.palette import Palette
from edgekd.simulate.shapes import Part, box, cushion, cylinder, panel

__all__ = ["bathtub", "mirror", "shower", "toilet", "towel_rail", "washbasin"]


def toilet(rng: np.random.Generator, palette: Palette) -> list[Part]:
    china = palette.white()
    bowl = [
        cushion(0.36, 0.52, 0.4, china, y=0.06, roundness=0.6),
        cushion(0.38, 0.46, 0.04, china, y=0.08, z=0.38, roundness=0.7),
    ]
    return [*bowl, box(0.38, 0.18, 0.36, china, y=-0.24, z=0.4, holds="bath"), box(0.24, 0.25, 0.4, china, y=-0.2)]


def washbasin(rng: np.random.Generator, palette: Palette) -> list[Part]:
    china, width = palette.white(), rng.uniform(0.5, 1.0)
    parts = [
        box(width, 0.46, 0.14, china, z=0.72, holds="bath"),
        box(width * 0.7, 0.28, 0.004, palette.metal(), y=0.04, z=0.86),
    ]
    parts.append(cylinder(0.012, 0.16, palette.metal(), y=-0.16, z=0.86, segments=6))
    if rng.random() < 0.6:
        return [
            *parts,
            box(width - 0.04, 0.42, 0.5, palette.lacquer(), z=0.22),
            box(0.2, 0.02, 0.015, palette.metal(), y=0.22, z=0.6),
        ]
    return [*parts, cylinder(0.09, 0.72, china, y=-0.08, segments=12)]


def bathtub(rng: np.random.Generator, palette: Palette) -> list[Part]:
    china, length, depth, height = palette.white(), rng.uniform(1.5, 1.8), 0.75, rng.uniform(0.52, 0.6)
    sides = [box(length, 0.07, height, china, y=s * (depth / 2 - 0.035)) for s in (-1, 1)]
    ends = [box(0.09, depth, height, china, x=s * (length / 2 - 0.045)) for s in (-1, 1)]
    tap = cylinder(0.02, 0.18, palette.metal(), x=-length / 2 + 0.06, z=height, segments=6)
    return [*sides, *ends, box(length, depth, 0.14, china), tap]


def shower(rng: np.random.Generator, palette: Palette) -> list[Part]:
    steel, size = palette.metal(), rng.uniform(0.8, 1.0)
    posts = [box(0.03, 0.03, 1.95, steel, x=sx * size / 2, y=size / 2 * sy) for sx in (-1, 1) for sy in (-1, 1)]
    rails = [box(size, 0.03, 0.03, steel, y=s * size / 2, z=1.95) for s in (-1, 1)]
    wall = box(size, 0.01, 1.8, palette.splashback(), y=-size / 2, z=0.1)
    head = [
        cylinder(0.012, 1.9, steel, y=-size / 2 + 0.05, z=0.1, segments=5),
        cylinder(0.1, 0.02, steel, y=-size / 2 + 0.2, z=1.98),
    ]
    return [box(size, size, 0.12, palette.white()), *posts, *rails, wall, *head]


def towel_rail(rng: np.random.Generator, palette: Palette) -> list[Part]:
    steel = palette.metal()
    bars = [box(0.5, 0.03, 0.03, steel, y=0.06, z=0.12 * number) for number in range(7)]
    posts = [box(0.03, 0.03, 0.78, steel, x=s * 0.25, y=0.06) for s in (-1, 1)]
    return [*bars, *posts, box(0.42, 0.1, 0.45, palette.fabric(), y=0.07, z=0.25)]


def mirror(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, height = rng.uniform(0.4, 0.9), rng.uniform(0.5, 0.9)
    return [
        box(width, 0.03, height, palette.lacquer()),
        panel(width - 0.05, height - 0.05, palette.glass(), y=0.018, z=0.025),
    ]
