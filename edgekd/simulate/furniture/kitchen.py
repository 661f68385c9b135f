"""Kitchens: cabinets under a worktop, what hangs above them, white goods."""

from __future__ import annotations

import numpy as np

from edgekd.simulate.palette import Palette
from edgekd.simulate.shapes import Part, box, cylinder, moved, panel

__all__ = ["cooker", "extractor", "fridge", "kitchen_island", "kitchen_run", "wall_cupboard", "washing_machine"]


def _cabinets(width: float, depth: float, base: float, height: float, palette: Palette) -> list[Part]:
    """A row of fronts 0.6 m wide before a carcass."""
    front, handle, count = palette.lacquer(), palette.metal(), max(1, round(width / 0.6))
    step = width / count
    parts = [box(width, depth, height, front, z=base)]
    for number in range(count):
        x = (number - (count - 1) / 2) * step
        parts.append(box(step - 0.01, 0.018, height - 0.02, front, x=x, y=depth / 2 + 0.009, z=base + 0.01))
        parts.append(box(step * 0.5, 0.025, 0.012, handle, x=x, y=depth / 2 + 0.028, z=base + height - 0.08))
    return parts


def _tap(palette: Palette) -> list[Part]:
    steel = palette.metal()
    return [cylinder(0.015, 0.28, steel, segments=6), box(0.02, 0.16, 0.02, steel, y=0.07, z=0.27)]


def kitchen_run(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, top = rng.uniform(1.6, 3.4), palette.worktop()
    parts = [box(width, 0.5, 0.1, palette.dark()), *_cabinets(width, 0.58, 0.1, 0.76, palette)]
    sink = rng.uniform(-0.3, 0.3) * width
    parts.append(box(width + 0.01, 0.62, 0.04, top, y=0.01, z=0.86, holds="worktop", room=0.45))
    parts += [box(0.5, 0.4, 0.004, palette.metal(), x=sink, z=0.9), box(0.4, 0.3, 0.005, palette.dark(), x=sink, z=0.9)]
    parts += [moved(part, x=sink, y=-0.2, z=0.9) for part in _tap(palette)]
    hob = sink + (0.9 if sink < 0 else -0.9)
    if abs(hob) < width / 2 - 0.3:
        parts.append(box(0.58, 0.5, 0.006, palette.dark(), x=hob, z=0.9))
    parts.append(box(width, 0.012, 0.5, palette.splashback(), y=-0.285, z=0.9))
    return parts


def kitchen_island(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width = rng.uniform(1.2, 2.0)
    parts = [box(width - 0.1, 0.55, 0.1, palette.dark()), *_cabinets(width, 0.65, 0.1, 0.77, palette)]
    return [*parts, box(width + 0.1, 0.85, 0.04, palette.worktop(), z=0.87, holds="worktop")]


def wall_cupboard(rng: np.random.Generator, palette: Palette) -> list[Part]:
    return _cabinets(rng.uniform(0.6, 2.4), 0.33, 0.0, rng.uniform(0.55, 0.75), palette)


def extractor(rng: np.random.Generator, palette: Palette) -> list[Part]:
    steel = palette.metal()
    return [box(0.6, 0.45, 0.08, steel), box(0.28, 0.26, 0.6, steel, y=-0.09, z=0.08)]


def fridge(rng: np.random.Generator, palette: Palette) -> list[Part]:
    shell = palette.white() if rng.random() < 0.6 else palette.metal()
    height, split = rng.uniform(1.45, 2.0), rng.uniform(0.45, 0.75)
    parts = [box(0.6, 0.58, height, shell, holds="top", room=0.3)]
    parts += [
        box(0.59, 0.05, split - 0.03, shell, y=0.315, z=0.02),
        box(0.59, 0.05, height - split - 0.02, shell, y=0.315, z=split + 0.01),
    ]
    return parts + [box(0.02, 0.03, 0.35, palette.metal(), x=-0.24, y=0.35, z=z) for z in (split - 0.38, split + 0.1)]


def cooker(rng: np.random.Generator, palette: Palette) -> list[Part]:
    shell, dark = palette.white() if rng.random() < 0.5 else palette.metal(), palette.dark()
    parts = [
        box(0.6, 0.6, 0.88, shell),
        box(0.58, 0.56, 0.02, dark, z=0.88, holds="hob", room=0.4),
        panel(0.46, 0.36, dark, y=0.302, z=0.28),
    ]
    parts += [cylinder(0.09, 0.012, palette.metal(), x=x, y=y, z=0.9) for x in (-0.15, 0.15) for y in (-0.14, 0.14)]
    return [*parts, box(0.5, 0.04, 0.02, palette.metal(), y=0.32, z=0.68), box(0.58, 0.02, 0.1, dark, y=0.3, z=0.75)]


def washing_machine(rng: np.random.Generator, palette: Palette) -> list[Part]:
    shell = palette.white()
    parts = [box(0.6, 0.58, 0.85, shell, holds="shelf"), box(0.56, 0.01, 0.1, palette.dark(), y=0.292, z=0.73)]
    rim = [
        box(0.36, 0.02, 0.36, palette.metal(), y=0.295, z=0.26),
        box(0.26, 0.025, 0.26, palette.dark(), y=0.297, z=0.31),
    ]
    return parts + rim
