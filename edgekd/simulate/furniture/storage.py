"""Things to keep things in."""

from __future__ import annotations

import numpy as np

from edgekd.simulate.palette import Palette
from edgekd.simulate.shapes import Part, box, moved

__all__ = [
    "bookcase",
    "chest_of_drawers",
    "cube_shelf",
    "display_cabinet",
    "metal_shelf",
    "nightstand",
    "shoe_rack",
    "sideboard",
    "trunk",
    "wardrobe",
]


def bookcase(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, depth, height = rng.uniform(0.6, 1.2), rng.uniform(0.26, 0.36), rng.uniform(1.0, 2.1)
    frame = palette.lacquer()
    boards = max(2, round(height / 0.36))
    parts = [box(0.02, depth, height, frame, x=s * (width / 2 - 0.01)) for s in (-1, 1)]
    parts += [
        box(width, 0.01, height, frame, y=-depth / 2 + 0.005),
        box(width, depth, 0.02, frame, z=height - 0.02, holds="top"),
    ]
    gap = (height - 0.06) / boards
    for number in range(boards):
        parts.append(
            box(width - 0.04, depth - 0.02, 0.02, frame, z=0.04 + number * gap, holds="books", room=gap - 0.04)
        )
    return parts


def _fronts(palette: Palette, width: float, depth: float, height: float, rows: int, columns: int) -> list[Part]:
    front, knob = palette.lacquer(), palette.metal()
    w, h, parts = width / columns, height / rows, []
    for row in range(rows):
        for column in range(columns):
            x, z = (column - (columns - 1) / 2) * w, row * h
            parts.append(box(w - 0.012, 0.018, h - 0.012, front, x=x, y=depth / 2 + 0.009, z=z + 0.006))
            parts.append(box(min(0.12, w / 3), 0.02, 0.012, knob, x=x, y=depth / 2 + 0.028, z=z + h * 0.7))
    return parts


def _case(palette: Palette, size: tuple[float, float, float], rows: int, columns: int, holds: str | None) -> list[Part]:
    width, depth, height = size
    feet = 0.06
    body = box(width, depth, height - feet, palette.lacquer(), z=feet, holds=holds)
    base = box(width - 0.06, depth - 0.06, feet, palette.dark())
    fronts = _fronts(palette, width - 0.02, depth, height - feet - 0.03, rows, columns)
    return [body, base, *(moved(part, z=feet + 0.01) for part in fronts)]


def chest_of_drawers(rng: np.random.Generator, palette: Palette) -> list[Part]:
    size = rng.uniform(0.7, 1.2), rng.uniform(0.42, 0.5), rng.uniform(0.7, 1.15)
    return _case(palette, size, int(rng.integers(3, 6)), int(rng.integers(1, 3)), "top")


def nightstand(rng: np.random.Generator, palette: Palette) -> list[Part]:
    size = rng.uniform(0.4, 0.5), rng.uniform(0.36, 0.44), rng.uniform(0.42, 0.6)
    return _case(palette, size, int(rng.integers(1, 4)), 1, "bedside")


def sideboard(rng: np.random.Generator, palette: Palette) -> list[Part]:
    size = rng.uniform(1.2, 2.0), rng.uniform(0.38, 0.48), rng.uniform(0.5, 0.85)
    return _case(palette, size, int(rng.integers(1, 3)), int(rng.integers(2, 5)), "media")


def wardrobe(rng: np.random.Generator, palette: Palette) -> list[Part]:
    doors = int(rng.integers(2, 4))
    size = doors * rng.uniform(0.45, 0.6), rng.uniform(0.55, 0.62), rng.uniform(1.9, 2.2)
    return _case(palette, size, 1, doors, "top")


def shoe_rack(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, wood = rng.uniform(0.6, 0.9), palette.wood()
    sides = [box(0.02, 0.3, 0.5, wood, x=s * width / 2) for s in (-1, 1)]
    return [*sides, *(box(width, 0.3, 0.02, wood, z=z, holds="shelf", room=0.16) for z in (0.08, 0.27, 0.48))]


def display_cabinet(rng: np.random.Generator, palette: Palette) -> list[Part]:
    wood, width, height = palette.wood(), rng.uniform(0.8, 1.1), rng.uniform(1.7, 2.0)
    lower = _case(palette, (width, 0.42, 0.75), 1, 2, None)
    frame = [box(0.04, 0.32, height - 0.75, wood, x=s * (width / 2 - 0.02), y=-0.05, z=0.75) for s in (-1, 1)]
    boards = [
        box(width, 0.32, 0.025, wood, y=-0.05, z=z, holds="shelf", room=0.3) for z in np.linspace(0.75, height - 0.4, 3)
    ]
    return [
        *lower,
        *frame,
        *boards,
        box(width + 0.04, 0.36, 0.04, wood, y=-0.05, z=height),
        box(width, 0.01, height - 0.75, wood, y=-0.2, z=0.75),
    ]


def trunk(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, wood, steel = rng.uniform(0.7, 1.0), palette.wood(), palette.metal()
    bands = [box(0.04, 0.47, 0.42, steel, x=s * width * 0.3) for s in (-1, 1)]
    return [box(width, 0.45, 0.4, wood, holds="top"), box(width + 0.02, 0.47, 0.06, wood, z=0.36), *bands]


def metal_shelf(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, depth, height = rng.uniform(0.8, 1.3), rng.uniform(0.35, 0.5), rng.uniform(1.5, 2.0)
    steel = palette.painted_metal()
    posts = [box(0.03, 0.03, height, steel, x=sx * width / 2, y=sy * depth / 2) for sx in (-1, 1) for sy in (-1, 1)]
    levels = np.linspace(0.1, height - 0.03, 5)
    return [*posts, *(box(width, depth, 0.03, steel, z=z, holds="bench", room=0.38) for z in levels)]


def cube_shelf(rng: np.random.Generator, palette: Palette) -> list[Part]:
    columns, rows, frame = int(rng.integers(2, 5)), int(rng.integers(1, 5)), palette.lacquer()
    cell = 0.36
    parts = [box(0.02, 0.38, rows * cell, frame, x=(n - columns / 2) * cell) for n in range(columns + 1)]
    parts += [
        box(
            columns * cell,
            0.38,
            0.02,
            frame,
            z=n * cell,
            holds="books" if n < rows else "media",
            room=0.3 if n < rows else 0.9,
        )
        for n in range(rows + 1)
    ]
    return [*parts, box(columns * cell, 0.01, rows * cell, frame, y=-0.185)]
