"""What hangs on walls and ceilings, and what lies or stands about."""

from __future__ import annotations

import numpy as np

from edgekd.simulate.palette import Palette
from edgekd.simulate.shapes import Part, box, cushion, cylinder, drape, panel, tilted, turned

__all__ = [
    "ball",
    "ceiling_lamp",
    "coat_hooks",
    "coat_stand",
    "curtain",
    "easel",
    "fireplace",
    "floor_lamp",
    "laundry_basket",
    "piano",
    "picture",
    "potted_tree",
    "radiator",
    "rug",
    "suitcase",
    "wall_clock",
    "wall_shelf",
    "wall_television",
    "waste_bin",
]


def picture(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, height = rng.uniform(0.25, 0.9), rng.uniform(0.25, 0.75)
    return [
        box(width, 0.03, height, palette.lacquer()),
        panel(width - 0.05, height - 0.05, palette.printed(), y=0.017, z=0.025),
    ]


def wall_shelf(rng: np.random.Generator, palette: Palette) -> list[Part]:
    return [box(rng.uniform(0.5, 1.2), rng.uniform(0.18, 0.28), 0.025, palette.wood(), holds="shelf", room=0.4)]


def curtain(rng: np.random.Generator, palette: Palette) -> list[Part]:
    return [drape(rng.uniform(0.4, 0.8), rng.uniform(1.9, 2.2), palette.fabric(), int(rng.integers(4, 8)))]


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


def radiator(rng: np.random.Generator, palette: Palette) -> list[Part]:
    white, width = palette.white(), rng.uniform(0.6, 1.4)
    ribs = max(6, int(width / 0.08))
    return [
        box(width, 0.05, 0.52, white, z=0.1),
        *(box(0.03, 0.04, 0.5, white, x=(n / (ribs - 1) - 0.5) * (width - 0.05), y=0.04, z=0.11) for n in range(ribs)),
    ]


def fireplace(rng: np.random.Generator, palette: Palette) -> list[Part]:
    stone, dark, width = palette.stone(), palette.dark(), rng.uniform(1.1, 1.5)
    sides = [box(0.24, 0.35, 1.0, stone, x=s * (width / 2 - 0.12)) for s in (-1, 1)]
    mantel = box(width + 0.16, 0.42, 0.07, palette.wood(), z=1.22, holds="top")
    return [
        *sides,
        box(width, 0.35, 0.25, stone, z=0.97),
        mantel,
        box(width - 0.4, 0.06, 1.0, dark, y=-0.14),
        box(width, 0.55, 0.05, stone, y=0.1),
    ]


def piano(rng: np.random.Generator, palette: Palette) -> list[Part]:
    wood = palette.wood() if rng.random() < 0.5 else palette.dark()
    legs = [box(0.08, 0.08, 0.62, wood, x=s * 0.66, y=0.27) for s in (-1, 1)]
    keys = [
        box(1.3, 0.14, 0.02, palette.white(), y=0.22, z=0.72),
        *(box(0.012, 0.09, 0.03, palette.dark(), x=(n - 13) * 0.045, y=0.19, z=0.72) for n in range(27)),
    ]
    return [box(1.48, 0.36, 1.2, wood, y=-0.1, holds="top"), box(1.48, 0.32, 0.1, wood, y=0.16, z=0.62), *legs, *keys]


def coat_stand(rng: np.random.Generator, palette: Palette) -> list[Part]:
    wood = palette.wood()
    arms = [
        turned(tilted(box(0.03, 0.2, 0.03, wood, y=0.1, z=1.6), 0.6, z=1.6), angle) for angle in np.arange(5) * 1.257
    ]
    coats = [
        cushion(0.3, 0.16, rng.uniform(0.6, 0.9), palette.fabric(), x=s * 0.12, y=0.08, z=0.75, roundness=0.5)
        for s in (-1, 1)
    ]
    return [
        cylinder(0.2, 0.03, wood, segments=14),
        cylinder(0.025, 1.75, wood, segments=8),
        *arms,
        *coats[: int(rng.integers(0, 3))],
    ]


def waste_bin(rng: np.random.Generator, palette: Palette) -> list[Part]:
    radius = rng.uniform(0.11, 0.18)
    return [cylinder(radius * 0.8, radius * 2.2, palette.plastic(), top=radius, segments=14)]


def laundry_basket(rng: np.random.Generator, palette: Palette) -> list[Part]:
    return [
        cylinder(0.2, 0.5, palette.wicker(), top=0.24, segments=16),
        cushion(0.4, 0.4, 0.2, palette.fabric(), z=0.4, roundness=0.7),
    ]


def suitcase(rng: np.random.Generator, palette: Palette) -> list[Part]:
    shell, height = palette.plastic((0.15, 0.8)), rng.uniform(0.5, 0.72)
    handle = [box(0.02, 0.02, 0.3, palette.metal(), x=s * 0.1, z=height) for s in (-1, 1)]
    return [
        cushion(height * 0.66, 0.26, height, shell, z=0.04, roundness=0.18),
        *handle,
        box(0.22, 0.03, 0.03, palette.dark(), z=height + 0.3),
    ]


def easel(rng: np.random.Generator, palette: Palette) -> list[Part]:
    wood = palette.wood()
    legs = [tilted(box(0.04, 0.03, 1.5, wood, x=s * 0.25), -0.12, z=0) for s in (-1, 1)]
    board = [
        box(0.6, 0.02, 0.75, palette.white(), y=0.06, z=0.65),
        panel(0.58, 0.72, palette.printed(), y=0.072, z=0.665),
    ]
    return [
        *legs,
        tilted(box(0.04, 0.03, 1.45, wood, y=-0.4), 0.25, y=-0.4),
        box(0.6, 0.08, 0.03, wood, y=0.06, z=0.63),
        *(tilted(p, -0.1, z=0.6) for p in board),
    ]


def wall_clock(rng: np.random.Generator, palette: Palette) -> list[Part]:
    face = tilted(cylinder(rng.uniform(0.12, 0.2), 0.04, palette.white(), segments=20), -np.pi / 2)
    return [face, box(0.012, 0.1, 0.1, palette.dark()), box(0.07, 0.1, 0.012, palette.dark(), x=0.035)]


def wall_television(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, dark = rng.uniform(0.9, 1.45), palette.dark()
    screen = palette.printed() if rng.random() < 0.4 else dark
    return [box(width, 0.06, width * 0.57, dark), panel(width - 0.03, width * 0.57 - 0.03, screen, y=0.032, z=0.015)]


def coat_hooks(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width = rng.uniform(0.6, 1.1)
    coats = [
        cushion(0.32, 0.14, rng.uniform(0.6, 0.9), palette.fabric(), x=x * width, y=0.1, z=-0.8, roundness=0.5)
        for x in (-0.3, 0.05, 0.35)
    ]
    return [box(width, 0.025, 0.1, palette.wood()), *coats[: int(rng.integers(1, 4))]]


def ball(rng: np.random.Generator, palette: Palette) -> list[Part]:
    size = rng.uniform(0.2, 0.6)
    return [cushion(size, size, size, palette.plastic((0.4, 0.9)), roundness=1.0)]
