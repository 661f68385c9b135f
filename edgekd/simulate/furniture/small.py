"""Clutter: what stands on tables, shelves and cupboards."""

from __future__ import annotations

import numpy as np

from edgekd.simulate.palette import Palette
from edgekd.simulate.shapes import Part, box, cushion, cylinder, panel, tilted, turned

__all__ = [
    "basket",
    "book_row",
    "book_stack",
    "bottle",
    "bowl",
    "carton",
    "clock",
    "cup",
    "desk_lamp",
    "frame",
    "fruit",
    "kettle",
    "keyboard",
    "laptop",
    "microwave",
    "monitor",
    "paper",
    "plant_pot",
    "plate",
    "pot",
    "speaker",
    "television",
    "toaster",
    "toolbox",
    "toy",
    "vase",
]


def cup(rng: np.random.Generator, palette: Palette) -> list[Part]:
    radius = rng.uniform(0.03, 0.045)
    return [cylinder(radius * 0.85, rng.uniform(0.07, 0.11), palette.plastic((0.3, 0.95)), top=radius)]


def bottle(rng: np.random.Generator, palette: Palette) -> list[Part]:
    radius, height, glass = rng.uniform(0.03, 0.045), rng.uniform(0.14, 0.22), palette.plastic()
    neck = cylinder(radius, 0.04, glass, z=height, top=0.014)
    return [cylinder(radius, height, glass), neck, cylinder(0.014, 0.06, glass, z=height + 0.04, segments=6)]


def bowl(rng: np.random.Generator, palette: Palette) -> list[Part]:
    radius = rng.uniform(0.08, 0.14)
    return [cylinder(radius * 0.5, rng.uniform(0.05, 0.09), palette.plastic((0.3, 0.95)), top=radius, segments=14)]


def vase(rng: np.random.Generator, palette: Palette) -> list[Part]:
    height, clay, leaf = rng.uniform(0.15, 0.28), palette.plastic(), palette.leaf()
    parts = [cushion(height * 0.6, height * 0.6, height, clay, roundness=0.8)]
    for _ in range(6):
        stalk = tilted(
            cushion(0.05, 0.02, rng.uniform(0.12, 0.28), leaf, z=height, roundness=1.0), rng.uniform(0.1, 0.7), z=height
        )
        parts.append(turned(stalk, rng.uniform(0, 6.28)))
    return parts


def plant_pot(rng: np.random.Generator, palette: Palette) -> list[Part]:
    size, leaf = rng.uniform(0.08, 0.14), palette.leaf()
    parts = [cylinder(size * 0.7, size * 1.4, palette.plastic(), top=size)]
    for _ in range(9):
        blade = cushion(size * 0.6, size * 0.2, size * rng.uniform(1.5, 3), leaf, z=size * 1.3, roundness=1.0)
        parts.append(turned(tilted(blade, rng.uniform(0.1, 1.0), z=size * 1.3), rng.uniform(0, 6.28)))
    return parts


def book_stack(rng: np.random.Generator, palette: Palette) -> list[Part]:
    parts, z = [], 0.0
    for _ in range(int(rng.integers(1, 5))):
        thick = rng.uniform(0.015, 0.04)
        book = box(
            rng.uniform(0.14, 0.22),
            rng.uniform(0.2, 0.3),
            thick,
            palette.printed() if rng.random() < 0.5 else palette.plastic(),
            z=z,
        )
        parts.append(turned(book, rng.normal(0, 0.2)))
        z += thick
    return parts


def book_row(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, height = rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.28)
    return [box(width, 0.18, height, palette.books())]


def carton(rng: np.random.Generator, palette: Palette) -> list[Part]:
    material = palette.printed("text") if rng.random() < 0.4 else palette.lacquer()
    return [box(rng.uniform(0.1, 0.35), rng.uniform(0.1, 0.28), rng.uniform(0.06, 0.25), material)]


def paper(rng: np.random.Generator, palette: Palette) -> list[Part]:
    return [turned(box(0.21, 0.297, 0.004, palette.paper()), rng.normal(0, 0.5))]


def laptop(rng: np.random.Generator, palette: Palette) -> list[Part]:
    shell = palette.metal() if rng.random() < 0.6 else palette.dark()
    lid = [
        box(0.33, 0.008, 0.22, shell, y=-0.11, z=0.012),
        panel(0.31, 0.19, palette.printed("text"), y=-0.105, z=0.03),
    ]
    lean = rng.uniform(0.1, 0.5)
    return [
        box(0.33, 0.23, 0.015, shell),
        box(0.28, 0.1, 0.002, palette.dark(), y=-0.03, z=0.015),
        *(tilted(p, lean, y=-0.11, z=0.012) for p in lid),
    ]


def _screen(width: float, palette: Palette) -> list[Part]:
    height, dark = width * 0.58, palette.dark()
    picture = palette.printed("painting") if palette.rng.random() < 0.4 else dark
    stand = [box(width * 0.4, 0.18, 0.015, dark), box(0.05, 0.03, 0.1, dark, y=-0.02)]
    return [
        *stand,
        box(width, 0.04, height, dark, z=0.08),
        panel(width - 0.03, height - 0.03, picture, y=0.0215, z=0.095),
    ]


def monitor(rng: np.random.Generator, palette: Palette) -> list[Part]:
    return _screen(rng.uniform(0.45, 0.65), palette)


def television(rng: np.random.Generator, palette: Palette) -> list[Part]:
    return _screen(rng.uniform(0.8, 1.2), palette)


def desk_lamp(rng: np.random.Generator, palette: Palette) -> list[Part]:
    base, height = palette.plastic(), rng.uniform(0.25, 0.4)
    shade = palette.glow(1.2) if rng.random() < 0.5 else palette.fabric()
    return [
        cylinder(0.07, 0.02, base),
        cylinder(0.012, height, base, segments=6),
        cylinder(0.12, 0.16, shade, z=height, top=0.08, segments=14),
    ]


def keyboard(rng: np.random.Generator, palette: Palette) -> list[Part]:
    return [box(0.43, 0.14, 0.02, palette.dark()), box(0.06, 0.1, 0.03, palette.dark(), x=0.3)]


def speaker(rng: np.random.Generator, palette: Palette) -> list[Part]:
    dark = palette.dark()
    height = rng.uniform(0.18, 0.4)
    return [
        box(height * 0.6, height * 0.6, height, palette.lacquer()),
        panel(height * 0.52, height * 0.9, dark, y=height * 0.302, z=height * 0.05),
    ]


def microwave(rng: np.random.Generator, palette: Palette) -> list[Part]:
    shell = palette.metal() if rng.random() < 0.5 else palette.white()
    return [
        box(0.48, 0.35, 0.28, shell),
        panel(0.32, 0.22, palette.dark(), x=-0.06, y=0.177, z=0.03),
        box(0.015, 0.03, 0.2, shell, x=0.12, y=0.18, z=0.04),
    ]


def kettle(rng: np.random.Generator, palette: Palette) -> list[Part]:
    steel = palette.metal() if rng.random() < 0.5 else palette.plastic()
    return [cylinder(0.085, 0.22, steel, top=0.06, segments=12), box(0.02, 0.05, 0.16, palette.dark(), y=0.1, z=0.04)]


def toaster(rng: np.random.Generator, palette: Palette) -> list[Part]:
    return [cushion(0.28, 0.17, 0.19, palette.metal(), roundness=0.25), box(0.2, 0.03, 0.004, palette.dark(), z=0.187)]


def pot(rng: np.random.Generator, palette: Palette) -> list[Part]:
    radius, steel = rng.uniform(0.09, 0.13), palette.metal()
    return [
        cylinder(radius, 0.13, steel, segments=14),
        cylinder(0.02, 0.03, palette.dark(), z=0.13, segments=6),
        box(radius * 3.6, 0.025, 0.02, palette.dark(), z=0.1),
    ]


def plate(rng: np.random.Generator, palette: Palette) -> list[Part]:
    return [cylinder(0.07, 0.02, palette.plastic((0.6, 0.97)), top=0.13, segments=16)]


def fruit(rng: np.random.Generator, palette: Palette) -> list[Part]:
    parts = [cylinder(0.07, 0.07, palette.plastic((0.4, 0.95)), top=0.14, segments=14)]
    for _ in range(5):
        x, y = rng.normal(0, 0.045, 2)
        parts.append(cushion(0.08, 0.08, 0.08, palette.plastic((0.5, 0.9)), x=x, y=y, z=0.04, roundness=1.0))
    return parts


def toy(rng: np.random.Generator, palette: Palette) -> list[Part]:
    if rng.random() < 0.5:
        size = rng.uniform(0.1, 0.24)
        return [cushion(size, size, size, palette.plastic((0.4, 0.95)), roundness=1.0)]
    cloth = palette.fabric()
    limbs = [cushion(0.07, 0.14, 0.07, cloth, x=s * 0.07, y=0.08, roundness=0.9) for s in (-1, 1)]
    return [
        cushion(0.16, 0.14, 0.2, cloth, roundness=0.9),
        cushion(0.13, 0.12, 0.13, cloth, z=0.18, roundness=0.9),
        *limbs,
    ]


def clock(rng: np.random.Generator, palette: Palette) -> list[Part]:
    size = rng.uniform(0.12, 0.2)
    return [
        box(size, 0.06, size, palette.lacquer()),
        panel(size * 0.85, size * 0.85, palette.white(), y=0.032, z=size * 0.07),
        box(0.008, 0.07, size * 0.35, palette.dark(), z=size * 0.5),
    ]


def frame(rng: np.random.Generator, palette: Palette) -> list[Part]:
    width, height = rng.uniform(0.1, 0.2), rng.uniform(0.13, 0.24)
    return [
        tilted(p, 0.2)
        for p in (
            box(width, 0.015, height, palette.lacquer()),
            panel(width - 0.03, height - 0.03, palette.printed(), y=0.009, z=0.015),
        )
    ]


def basket(rng: np.random.Generator, palette: Palette) -> list[Part]:
    weave, size = palette.wicker(), rng.uniform(0.18, 0.3)
    return [cylinder(size * 0.42, size * 0.7, weave, top=size * 0.5, segments=14)]


def toolbox(rng: np.random.Generator, palette: Palette) -> list[Part]:
    return [
        box(0.42, 0.2, 0.18, palette.plastic((0.3, 0.9))),
        box(0.2, 0.03, 0.03, palette.dark(), z=0.22),
        *(box(0.02, 0.03, 0.05, palette.dark(), x=s * 0.09, z=0.18) for s in (-1, 1)),
    ]
