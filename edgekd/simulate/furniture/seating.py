"""Things to sit and lie on."""

from __future__ import annotations

import numpy as np

from edgekd.simulate.palette import Palette
from edgekd.simulate.shapes import Part, box, cushion, cylinder, moved, tilted, turned

__all__ = [
    "armchair",
    "bar_stool",
    "bed",
    "bench",
    "bunk_bed",
    "chair",
    "cot",
    "office_chair",
    "pouf",
    "sofa",
    "stool",
    "wing_chair",
]


def chair(rng: np.random.Generator, palette: Palette) -> list[Part]:
    frame, seat = palette.wood(), palette.fabric() if rng.random() < 0.5 else palette.wood()
    width, depth, height = rng.uniform(0.40, 0.48), rng.uniform(0.40, 0.46), rng.uniform(0.43, 0.47)
    back = rng.uniform(0.38, 0.55)
    x, y = width / 2 - 0.02, depth / 2 - 0.02
    parts = [box(0.035, 0.035, height, frame, x=sx * x, y=sy * y) for sx in (-1, 1) for sy in (-1, 1)]
    parts.append(cushion(width, depth, 0.05, seat, z=height - 0.02, roundness=0.2))
    posts = [box(0.03, 0.03, back, frame, x=sx * x, y=-y, z=height) for sx in (-1, 1)]
    if rng.random() < 0.5:
        posts.append(box(width - 0.04, 0.02, back * 0.55, seat, y=-y, z=height + back * 0.45))
    else:
        posts += [box(width - 0.06, 0.018, 0.06, frame, y=-y, z=height + back * share) for share in (0.3, 0.6, 0.88)]
    return parts + [tilted(part, rng.uniform(0.03, 0.15), y=-y, z=height) for part in posts]


def stool(rng: np.random.Generator, palette: Palette) -> list[Part]:
    height, radius = rng.uniform(0.42, 0.72), rng.uniform(0.15, 0.19)
    frame = palette.metal() if rng.random() < 0.5 else palette.wood()
    legs = [tilted(box(0.025, 0.025, height, frame, y=radius * 0.7), -0.09) for _ in range(4)]
    legs = [turned(leg, np.pi / 2 * number) for number, leg in enumerate(legs)]
    return [*legs, cylinder(radius, 0.05, palette.lacquer(), z=height - 0.03, segments=14)]


def office_chair(rng: np.random.Generator, palette: Palette) -> list[Part]:
    dark, cloth, height = palette.dark(), palette.fabric(), rng.uniform(0.42, 0.52)
    parts = [turned(box(0.05, 0.30, 0.03, dark, y=0.15, z=0.06), angle) for angle in np.arange(5) * 2 * np.pi / 5]
    parts += [turned(cylinder(0.03, 0.06, dark, y=0.28, segments=6), angle) for angle in np.arange(5) * 2 * np.pi / 5]
    parts.append(cylinder(0.03, height - 0.08, palette.metal(), z=0.08, segments=8))
    parts.append(cushion(0.48, 0.46, 0.09, cloth, z=height - 0.03, roundness=0.35))
    back = cushion(0.46, 0.08, rng.uniform(0.45, 0.65), cloth, y=-0.24, z=height + 0.08, roundness=0.3)
    parts += [tilted(back, 0.12, y=-0.24, z=height), box(0.06, 0.03, 0.2, dark, y=-0.25, z=height - 0.02)]
    if rng.random() < 0.6:
        parts += [box(0.05, 0.26, 0.03, dark, x=s * 0.27, y=-0.02, z=height + 0.2) for s in (-1, 1)]
        parts += [box(0.03, 0.05, 0.2, dark, x=s * 0.27, y=-0.05, z=height) for s in (-1, 1)]
    return parts


def _upholstered(rng: np.random.Generator, palette: Palette, seats: int) -> list[Part]:
    cloth, seat_width = palette.fabric(), rng.uniform(0.58, 0.72)
    arm, depth, height = rng.uniform(0.12, 0.24), rng.uniform(0.82, 0.95), rng.uniform(0.38, 0.45)
    back = rng.uniform(0.34, 0.48)
    width = seats * seat_width
    parts = [box(width + 2 * arm, depth, height - 0.14, cloth, z=0.06)]
    parts += [
        box(0.05, 0.05, 0.06, palette.wood(), x=sx * (width / 2), y=sy * (depth / 2 - 0.08))
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    arms = height + rng.uniform(0.1, 0.22)
    parts += [cushion(arm, depth, arms - 0.06, cloth, x=s * (width + arm) / 2, z=0.06, roundness=0.2) for s in (-1, 1)]
    parts.append(cushion(width + arm, 0.22, height + back - 0.1, cloth, y=-depth / 2 + 0.11, z=0.06, roundness=0.2))
    for number in range(seats):
        x = (number - (seats - 1) / 2) * seat_width
        parts.append(cushion(seat_width - 0.01, depth - 0.22, 0.18, cloth, x=x, y=0.1, z=height - 0.14, roundness=0.25))
        rest = cushion(seat_width - 0.02, 0.18, back, cloth, x=x, y=-depth / 2 + 0.28, z=height, roundness=0.35)
        parts.append(tilted(rest, 0.15, y=-depth / 2 + 0.28, z=height))
    for _ in range(int(rng.integers(0, seats + 2))):
        pillow = cushion(0.42, 0.14, 0.4, palette.fabric(), x=rng.uniform(-0.4, 0.4) * width, z=height, roundness=0.6)
        parts.append(moved(tilted(pillow, 0.35, z=height), y=-depth / 2 + 0.45))
    return parts


def armchair(rng: np.random.Generator, palette: Palette) -> list[Part]:
    return _upholstered(rng, palette, 1)


def sofa(rng: np.random.Generator, palette: Palette) -> list[Part]:
    return _upholstered(rng, palette, int(rng.integers(2, 4)))


def bed(rng: np.random.Generator, palette: Palette) -> list[Part]:
    frame, sheet, cover = palette.lacquer(), palette.white(), palette.fabric()
    width, length, height = float(rng.choice([0.9, 1.4, 1.6, 1.8])), 2.0, rng.uniform(0.25, 0.4)
    parts = [box(width + 0.08, length + 0.08, height - 0.1, frame, z=0.1)]
    parts += [box(0.07, 0.07, 0.1, frame, x=sx * width / 2, y=sy * length / 2) for sx in (-1, 1) for sy in (-1, 1)]
    parts.append(box(width + 0.08, 0.06, height + rng.uniform(0.4, 0.8), frame, y=-length / 2 - 0.03, z=0.05))
    parts.append(cushion(width, length, 0.22, sheet, z=height - 0.02, roundness=0.12))
    reach = rng.uniform(0.55, 0.75)
    parts.append(
        cushion(width + 0.1, length * reach, 0.3, cover, y=length * (1 - reach) / 2, z=height - 0.02, roundness=0.15)
    )
    count = 1 if width < 1.2 else 2
    for number in range(count):
        x = (number - (count - 1) / 2) * 0.75
        parts.append(cushion(0.65, 0.42, 0.16, sheet, x=x, y=-length / 2 + 0.28, z=height + 0.17, roundness=0.55))
    return parts


def wing_chair(rng: np.random.Generator, palette: Palette) -> list[Part]:
    cloth, wood = palette.fabric(), palette.wood()
    height = rng.uniform(0.98, 1.12)
    legs = [
        cylinder(0.025, 0.16, wood, x=sx * 0.28, y=sy * 0.28, top=0.035, segments=6) for sx in (-1, 1) for sy in (-1, 1)
    ]
    seat = [cushion(0.66, 0.66, 0.28, cloth, z=0.15, roundness=0.25)]
    back = tilted(cushion(0.7, 0.16, height - 0.35, cloth, y=-0.3, z=0.35, roundness=0.3), 0.12, y=-0.3, z=0.35)
    sides = [cushion(0.13, 0.6, 0.32, cloth, x=s * 0.34, z=0.33, roundness=0.35) for s in (-1, 1)]
    wings = [cushion(0.1, 0.3, 0.4, cloth, x=s * 0.34, y=-0.2, z=height - 0.5, roundness=0.4) for s in (-1, 1)]
    return [*legs, *seat, back, *sides, *wings]


def bench(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, wood = rng.uniform(0.9, 1.5), palette.wood()
    legs = [box(0.05, 0.32, 0.42, wood, x=s * (width / 2 - 0.12)) for s in (-1, 1)]
    return [box(width, 0.36, 0.04, wood, z=0.42), *legs]


def pouf(rng: np.random.Generator, palette: Palette) -> list[Part]:
    size = rng.uniform(0.42, 0.6)
    return [cushion(size, size, rng.uniform(0.35, 0.45), palette.fabric(), roundness=rng.uniform(0.3, 0.7))]


def bar_stool(rng: np.random.Generator, palette: Palette) -> list[Part]:
    height, steel = rng.uniform(0.65, 0.8), palette.metal()
    ring = cylinder(0.16, 0.02, steel, z=0.25, segments=12)
    return [
        cylinder(0.2, 0.02, steel, segments=14),
        cylinder(0.03, height, steel, segments=8),
        ring,
        cushion(0.38, 0.38, 0.1, palette.fabric(), z=height, roundness=0.5),
    ]


def bunk_bed(rng: np.random.Generator, palette: Palette) -> list[Part]:
    wood, sheet = palette.wood(), palette.white()
    posts = [box(0.07, 0.07, 1.65, wood, x=sx * 0.48, y=sy * 1.0) for sx in (-1, 1) for sy in (-1, 1)]
    parts = []
    for z in (0.3, 1.2):
        parts += [box(0.96, 2.0, 0.08, wood, z=z), cushion(0.9, 1.95, 0.16, sheet, z=z + 0.07, roundness=0.15)]
        parts += [
            cushion(0.94, 1.3, 0.2, palette.fabric(), y=0.3, z=z + 0.1, roundness=0.2),
            box(0.02, 1.9, 0.1, wood, x=-0.48, z=z + 0.25),
        ]
    ladder = [box(0.36, 0.03, 0.04, wood, x=0.2, y=1.03, z=0.3 + 0.27 * step) for step in range(5)]
    return [*posts, *parts, *ladder]


def cot(rng: np.random.Generator, palette: Palette) -> list[Part]:
    wood, count = palette.lacquer(), 9
    posts = [box(0.05, 0.05, 0.85, wood, x=sx * 0.6, y=sy * 0.3) for sx in (-1, 1) for sy in (-1, 1)]
    rails = [box(1.2, 0.03, 0.04, wood, y=s * 0.3, z=z) for s in (-1, 1) for z in (0.25, 0.8)]
    ends = [box(0.03, 0.6, 0.6, wood, x=s * 0.6, z=0.25) for s in (-1, 1)]
    bars = [
        box(0.015, 0.015, 0.55, wood, x=(n / (count - 1) - 0.5) * 1.1, y=s * 0.3, z=0.27)
        for n in range(count)
        for s in (-1, 1)
    ]
    return [*posts, *rails, *ends, *bars, cushion(1.15, 0.56, 0.12, palette.fabric(), z=0.28, roundness=0.2)]
