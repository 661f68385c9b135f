"""The two looks a simulated room can have: what it is made of, how it is lit, and the camera that takes its picture.

The looks are two domains. `simulated` is what distillation uses: clean renders. `photographed` stands in for somebody's
private pictures: other materials, warmer and dimmer light, clutter, a lens and a sensor. Rooms, furniture sizes and
camera positions are drawn alike, so depth learnt in one means the same in the other.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LOOKS", "Lens", "Look"]

Range = tuple[float, float]


@dataclass(frozen=True)
class Lens:
    """What happens between the light and the file. A value is drawn from each range once per picture."""

    distortion: Range = (0.0, 0.0)  # radial k1 at unit tangent; negative is barrel
    vignette: Range = (0.0, 0.0)  # share of light lost in the corners
    blur: Range = (0.0, 0.0)  # standard deviation in pixels at width 320
    cast: Range = (0.0, 0.0)  # remaining error of the white balance, log2 of red over blue
    contrast: Range = (0.0, 0.0)  # strength of the S-shaped tone curve
    saturation: Range = (1.0, 1.0)
    shot_noise: Range = (0.0, 0.0)  # deviation of the noise at full white, linear light
    read_noise: Range = (0.0, 0.0)
    exposure: Range = (0.42, 0.46)  # the geometric mean of the picture before tone and vignette, in 0..1


@dataclass(frozen=True)
class Look:
    """Materials by name of their pattern (patterns.PATTERNS), colours by range, light, lens."""

    walls: tuple[str, ...]
    floors: tuple[str, ...]
    fabrics: tuple[str, ...]
    wood_value: Range  # lightness 0..1 of wood
    wood_hue: Range
    paint_value: Range  # of walls and painted furniture
    paint_saturation: Range
    fabric_value: Range
    fabric_saturation: Range
    pattern_strength: Range  # how far a pattern's colours lie apart
    warmth: Range  # of the lamps: 0 is white, 1 is a filament
    ambient: Range  # light from everywhere, relative to the lamps
    daylight: Range  # window light, relative to the lamps
    ceiling_lamp: float  # chance that it is on
    paint_hue: tuple[float, float]  # mean and deviation; with a deviation of 1 all hues are about equally likely
    clutter: Range  # pieces per square metre of table
    without: tuple[str, ...]  # furniture that does not occur
    lens: Lens


LOOKS: dict[str, Look] = {
    "simulated": Look(
        walls=("plain", "plain", "plaster"),
        floors=("planks", "tiles", "carpet", "planks"),
        fabrics=("plain", "fabric", "fabric", "checks"),
        wood_value=(0.45, 0.8),
        wood_hue=(0.07, 0.12),
        paint_value=(0.7, 0.95),
        paint_saturation=(0.0, 0.18),
        fabric_value=(0.3, 0.85),
        fabric_saturation=(0.05, 0.75),
        pattern_strength=(0.05, 0.25),
        warmth=(0.0, 0.2),
        ambient=(0.5, 0.8),
        daylight=(0.5, 1.2),
        ceiling_lamp=1.0,
        paint_hue=(0.0, 1.0),
        clutter=(2.0, 6.0),
        without=("display_cabinet", "fireplace", "piano", "radiator", "trunk", "wing_chair", "easel", "bench"),
        lens=Lens(),
    ),
    "photographed": Look(
        walls=("plaster", "plaster", "plaster", "bricks", "blooms", "stripes"),
        floors=("planks", "planks", "carpet", "bond_tiles", "marble"),
        fabrics=("fabric", "carpet", "blooms", "stripes", "checks"),
        wood_value=(0.18, 0.5),
        wood_hue=(0.03, 0.1),
        paint_value=(0.4, 0.8),
        paint_saturation=(0.1, 0.4),
        fabric_value=(0.1, 0.6),
        fabric_saturation=(0.1, 0.5),
        pattern_strength=(0.25, 0.6),
        warmth=(0.35, 0.9),
        ambient=(0.15, 0.4),
        daylight=(0.3, 2.0),
        ceiling_lamp=0.6,
        paint_hue=(0.1, 0.07),
        clutter=(5.0, 14.0),
        without=("bar_stool", "cube_shelf", "filing_cabinet", "pouf", "round_table", "server_rack", "whiteboard"),
        lens=Lens(
            distortion=(-0.10, -0.02),
            vignette=(0.15, 0.45),
            blur=(0.4, 0.9),
            cast=(-0.15, 0.5),
            contrast=(0.2, 0.6),
            saturation=(0.75, 1.05),
            shot_noise=(0.01, 0.03),
            read_noise=(0.002, 0.008),
            exposure=(0.26, 0.42),
        ),
    ),
}
