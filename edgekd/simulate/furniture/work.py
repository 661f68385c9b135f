"""Offices, workshops and warehouses."""

from __future__ import annotations

import numpy as np

from edgekd.simulate.palette import Palette
from edgekd.simulate.shapes import Part, box, cylinder, panel, tilted

__all__ = [
    "barrel",
    "box_stack",
    "filing_cabinet",
    "ladder",
    "locker",
    "pallet",
    "pallet_rack",
    "printer",
    "server_rack",
    "whiteboard",
    "workbench",
]


def filing_cabinet(rng: np.random.Generator, palette: Palette) -> list[Part]:
    steel, rows = palette.painted_metal(), int(rng.integers(2, 5))
    parts = [box(0.46, 0.6, rows * 0.33, steel, holds="top")]
    for row in range(rows):
        parts.append(box(0.44, 0.02, 0.31, steel, y=0.31, z=row * 0.33 + 0.01))
        parts.append(box(0.14, 0.02, 0.02, palette.metal(), y=0.325, z=row * 0.33 + 0.24))
    return parts


def whiteboard(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width = rng.uniform(1.0, 2.0)
    board = panel(width - 0.04, 0.92, palette.paper() if rng.random() < 0.5 else palette.white(), y=0.016, z=0.02)
    return [box(width, 0.028, 0.96, palette.metal()), board, box(width * 0.6, 0.08, 0.02, palette.metal(), y=0.04)]


def printer(rng: np.random.Generator, palette: Palette) -> list[Part]:
    shell, dark = palette.white(), palette.dark()
    base = [box(0.55, 0.52, 0.6, dark), box(0.58, 0.55, 0.4, shell, z=0.6), box(0.5, 0.4, 0.05, dark, z=1.0)]
    return [
        *base,
        box(0.22, 0.08, 0.04, dark, x=0.15, y=0.25, z=0.98),
        tilted(box(0.4, 0.3, 0.015, shell, z=1.06), 0.25, z=1.06),
    ]


def locker(rng: np.random.Generator, palette: Palette) -> list[Part]:
    steel, doors = palette.painted_metal(), int(rng.integers(2, 6))
    width = 0.32 * doors
    parts = [box(width, 0.5, 1.8, steel, holds="top")]
    for number in range(doors):
        x = (number - (doors - 1) / 2) * 0.32
        parts += [
            box(0.3, 0.015, 1.76, steel, x=x, y=0.255, z=0.02),
            box(0.02, 0.03, 0.1, palette.metal(), x=x + 0.1, y=0.265, z=1.0),
        ]
        parts += [box(0.18, 0.018, 0.012, palette.dark(), x=x, y=0.256, z=1.5 + 0.05 * slot) for slot in range(3)]
    return parts


def server_rack(rng: np.random.Generator, palette: Palette) -> list[Part]:
    dark = palette.dark()
    parts = [box(0.6, 0.9, 2.0, dark)]
    for unit in range(12):
        parts.append(
            box(0.5, 0.02, 0.1, palette.metal() if rng.random() < 0.5 else dark, y=0.455, z=0.15 + unit * 0.145)
        )
    return parts


def workbench(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, steel = rng.uniform(1.4, 2.2), palette.painted_metal()
    top = box(width, 0.7, 0.05, palette.wood(), z=0.82, holds="bench")
    legs = [box(0.06, 0.06, 0.82, steel, x=sx * (width / 2 - 0.06), y=sy * 0.3) for sx in (-1, 1) for sy in (-1, 1)]
    board = (
        box(width, 0.02, 0.7, steel, y=-0.34, z=0.95)
        if rng.random() < 0.5
        else box(width - 0.1, 0.5, 0.03, steel, z=0.2, holds="bench", room=0.5)
    )
    return [top, *legs, board]


def ladder(rng: np.random.Generator, palette: Palette) -> list[Part]:
    steel, height = palette.metal(), rng.uniform(1.3, 2.2)
    rails = [box(0.05, 0.03, height, steel, x=s * 0.2) for s in (-1, 1)]
    front = [*rails, *(box(0.4, 0.08, 0.025, steel, z=z) for z in np.arange(0.25, height - 0.1, 0.25))]
    back = [box(0.04, 0.03, height, steel, x=s * 0.2) for s in (-1, 1)]
    return [tilted(p, 0.2, y=0, z=height) for p in front] + [tilted(p, -0.2, y=0, z=height) for p in back]


def barrel(rng: np.random.Generator, palette: Palette) -> list[Part]:
    shell = palette.plastic((0.15, 0.8))
    rings = [cylinder(0.3, 0.03, shell, z=z, segments=18) for z in (0.28, 0.56)]
    return [cylinder(0.285, 0.87, shell, segments=18), *rings]


def _boxes(
    rng: np.random.Generator, palette: Palette, width: float, depth: float, height: float, z: float
) -> list[Part]:
    """Cartons in rows and layers that fill about a width, depth and height."""
    parts = []
    across, layers = max(1, int(width / rng.uniform(0.3, 0.55))), max(1, int(height / rng.uniform(0.25, 0.45)))
    step, tall = width / across, height / layers
    for column in range(across):
        material = palette.cardboard()
        for layer in range(int(rng.integers(0, layers + 1))):
            x = (column - (across - 1) / 2) * step + rng.normal(0, 0.01)
            parts.append(
                box(
                    step * rng.uniform(0.85, 0.97),
                    depth * rng.uniform(0.8, 0.97),
                    tall * 0.97,
                    material,
                    x=x,
                    z=z + layer * tall,
                )
            )
            if rng.random() < 0.4:
                parts.append(
                    panel(step * 0.3, tall * 0.3, palette.paper(), x=x, y=depth / 2, z=z + (layer + 0.35) * tall)
                )
    return parts


def _deck(palette: Palette, width: float, depth: float) -> list[Part]:
    wood = palette.rough_wood()
    boards = [box(width, depth / 7, 0.022, wood, y=(n - 2) * depth / 4.6, z=0.12) for n in range(5)]
    return boards + [box(0.1, depth, 0.12, wood, x=s * (width / 2 - 0.05)) for s in (-1, 0, 1)]


def pallet(rng: np.random.Generator, palette: Palette) -> list[Part]:
    load = _boxes(rng, palette, 1.15, 0.78, rng.uniform(0.3, 1.2), 0.142) if rng.random() < 0.8 else []
    return [*_deck(palette, 1.2, 0.8), *load]


def box_stack(rng: np.random.Generator, palette: Palette) -> list[Part]:
    parts, z, size = [], 0.0, rng.uniform(0.35, 0.6)
    for _ in range(int(rng.integers(1, 5))):
        height = rng.uniform(0.2, 0.42)
        parts.append(box(size, size * rng.uniform(0.6, 0.9), height, palette.cardboard(), x=rng.normal(0, 0.015), z=z))
        z, size = z + height, size * rng.uniform(0.8, 1.0)
    return parts


def pallet_rack(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, depth, levels = rng.uniform(1.8, 2.7), rng.uniform(0.8, 1.1), int(rng.integers(2, 4))
    gap = rng.uniform(1.0, 1.5)
    upright, beam = palette.painted_metal(), palette.plastic((0.6, 0.95))
    posts = [
        box(0.08, 0.08, levels * gap + 0.3, upright, x=sx * width / 2, y=sy * depth / 2)
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    parts = list(posts)
    for level in range(levels):
        z = 0.1 + level * gap
        parts += [box(width, 0.05, 0.1, beam, y=s * depth / 2, z=z) for s in (-1, 1)]
        parts += [
            box(width - 0.08, depth, 0.02, palette.rough_wood(), z=z + 0.1),
            *_boxes(rng, palette, width - 0.2, depth, gap * 0.7, z + 0.12),
        ]
    return parts
