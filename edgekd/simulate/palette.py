"""The materials of one room: all its furniture draws from one palette, so that the room is of one style."""

from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np

from edgekd.simulate.looks import Look, Range
from edgekd.simulate.material import Colour, Material

__all__ = ["Palette", "linear"]


def linear(red: float, green: float, blue: float) -> Colour:
    """sRGB 0..1 to linear light."""
    first, second, third = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue))
    return first, second, third


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    return linear(*colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0), 1), min(max(value, 0), 1)))


class Palette:
    """Draws materials of a look; woods, metal and cloth repeat within a room as they do in a home."""

    def __init__(self, look: Look, rng: np.random.Generator) -> None:
        self.look, self.rng = look, rng
        self._woods = [self._new_wood() for _ in range(2)]
        self._fabrics = [self._new_fabric() for _ in range(4)]
        self._paints = [self.paint() for _ in range(2)]

    def between(self, limits: Range) -> float:
        return float(self.rng.uniform(*limits))

    def pick(self, names: tuple[str, ...]) -> str:
        return names[int(self.rng.integers(len(names)))]

    def _three(self, hue: float, saturation: float, value: float) -> tuple[Colour, Colour, Colour]:
        apart = self.between(self.look.pattern_strength)
        sign = 1 if self.rng.random() < 0.5 or value < 0.3 else -1
        return (
            _hsv(hue, saturation, value),
            _hsv(hue + self.rng.normal(0, 0.02), saturation * 1.1, value * (1 + sign * apart)),
            _hsv(hue + self.rng.normal(0, 0.15), saturation, value * (1 - sign * apart * 0.8)),
        )

    def _new_wood(self) -> Material:
        look = self.look
        value = self.between(look.wood_value)
        hue, saturation = self.between(look.wood_hue), self.rng.uniform(0.3, 0.65)
        apart = self.between(look.pattern_strength)
        colours = (
            _hsv(hue, saturation, value * (1 - 0.5 * apart)),
            _hsv(hue + 0.01, saturation, value * (1 + 0.3 * apart)),
        )
        return Material("wood", (*colours, _hsv(hue, saturation, value * (1 - apart))), scale=0.9, gloss=0.15)

    def _new_fabric(self) -> Material:
        look = self.look
        pattern = self.pick(look.fabrics)
        colours = self._three(self.rng.random(), self.between(look.fabric_saturation), self.between(look.fabric_value))
        return Material(pattern, colours, scale=float(self.rng.uniform(0.3, 0.7)))

    def _paint_hue(self) -> float:
        return float(self.rng.normal(*self.look.paint_hue) if self.rng.random() < 0.75 else self.rng.random())

    def wood(self) -> Material:
        return self._woods[int(self.rng.random() < 0.3)]

    def fabric(self) -> Material:
        return self._fabrics[int(self.rng.integers(4))]

    def lacquer(self) -> Material:
        """Painted furniture, or wood."""
        return self.wood() if self.rng.random() < 0.55 else replace(self._paints[int(self.rng.integers(2))], gloss=0.2)

    def paint(self) -> Material:
        look = self.look
        colours = self._three(self._paint_hue(), self.between(look.paint_saturation), self.between(look.paint_value))
        return Material("plain", colours)

    def plastic(self, value: Range = (0.05, 0.9)) -> Material:
        colour = _hsv(self.rng.random(), self.rng.uniform(0, 0.9) ** 2, self.between(value))
        return Material("plain", (colour, colour, colour), gloss=0.3)

    def dark(self) -> Material:
        value = self.rng.uniform(0.05, 0.2)
        return Material("plain", (_hsv(0.6, 0.1, value),) * 3, gloss=0.3)

    def white(self) -> Material:
        return Material("plain", (_hsv(0.12, self.rng.uniform(0, 0.06), self.rng.uniform(0.82, 0.95)),) * 3, gloss=0.3)

    def metal(self) -> Material:
        value = self.rng.uniform(0.35, 0.75)
        return Material(
            "metal", (_hsv(0.6, 0.04, value), _hsv(0.6, 0.03, value * 1.15), _hsv(0.6, 0.0, 0.9)), 0.5, gloss=0.8
        )

    def painted_metal(self) -> Material:
        """Lockers, racks, cabinets."""
        return Material(
            "plain", (_hsv(self.rng.random(), self.rng.uniform(0.0, 0.6), self.rng.uniform(0.3, 0.8)),) * 3, gloss=0.4
        )

    def worktop(self) -> Material:
        if self.rng.random() < 0.4:
            return self.wood()
        return self.stone()

    def stone(self) -> Material:
        colours = self._three(self.rng.uniform(0.05, 0.15), self.rng.uniform(0, 0.2), self.rng.uniform(0.2, 0.85))
        return Material("marble", colours, 0.8, gloss=0.5)

    def splashback(self) -> Material:
        colours = self._three(self.rng.random(), self.rng.uniform(0, 0.3), self.between(self.look.paint_value))
        return Material("small_tiles" if self.rng.random() < 0.6 else "bond_tiles", colours, 0.9, gloss=0.4)

    def rough_wood(self) -> Material:
        value = self.rng.uniform(0.45, 0.75)
        return Material(
            "wood", (_hsv(0.1, 0.4, value * 0.8), _hsv(0.1, 0.35, value), _hsv(0.09, 0.4, value * 0.5)), 0.6
        )

    def cardboard(self) -> Material:
        value = self.rng.uniform(0.4, 0.75)
        return Material(
            "plaster", (_hsv(0.09, 0.45, value), _hsv(0.09, 0.4, value * 1.08), _hsv(0.09, 0.4, value)), 0.5
        )

    def wicker(self) -> Material:
        value = self.rng.uniform(0.3, 0.7)
        return Material("checks", (_hsv(0.1, 0.5, value), _hsv(0.09, 0.55, value * 0.6), _hsv(0.1, 0.4, value)), 0.12)

    def glass(self) -> Material:
        """A mirror's pane, as dull as a mirror that shows a bare wall."""
        return Material(
            "plaster", (_hsv(0.55, 0.05, 0.6), _hsv(0.55, 0.05, 0.75), _hsv(0.55, 0.05, 0.7)), 1.0, gloss=1.0
        )

    def leaf(self) -> Material:
        colour = _hsv(self.rng.uniform(0.24, 0.36), self.rng.uniform(0.4, 0.8), self.rng.uniform(0.2, 0.5))
        return Material("carpet", (colour, tuple(c * 0.4 for c in colour), colour), 0.3)  # type: ignore[arg-type]

    def printed(self, pattern: str = "painting") -> Material:
        """A picture, poster, screen or label that fills its surface."""
        hue = self.rng.random()
        colours = tuple(
            _hsv(hue + shift, self.rng.uniform(0.1, 0.8), self.rng.uniform(*limits))
            for shift, limits in ((0.0, (0.4, 0.95)), (0.1, (0.1, 0.6)), (0.5, (0.2, 0.9)))
        )
        return Material(pattern, colours, 1.0, stretch=True)  # type: ignore[arg-type]

    def books(self) -> Material:
        """Spines of any colour."""
        colours = tuple(_hsv(self.rng.random(), self.rng.uniform(0.2, 0.9), v) for v in (0.85, 0.3, 0.6))
        return Material("spines", colours, 1.0, stretch=True)  # type: ignore[arg-type]

    def paper(self) -> Material:
        return Material(
            "text", (_hsv(0.13, 0.04, 0.92), _hsv(0, 0, 0.15), _hsv(self.rng.random(), 0.6, 0.6)), 1.0, stretch=True
        )

    def rug(self) -> Material:
        colours = tuple(
            _hsv(self.rng.random(), self.between(self.look.fabric_saturation), v) for v in self.rng.uniform(0.2, 0.8, 3)
        )
        return Material("rug", colours, 1.0, stretch=True)  # type: ignore[arg-type]

    def wall(self, patterns: tuple[str, ...] = ()) -> Material:
        pattern = self.pick(patterns or self.look.walls)
        strength = 1.0 if pattern in ("bricks",) else 0.4
        base, second, third = self._three(
            self._paint_hue(), self.between(self.look.paint_saturation), self.between(self.look.paint_value)
        )
        soft = tuple(b + strength * (c - b) for b, c in zip(base, second, strict=True))
        return Material(pattern, (base, soft, third if pattern == "bricks" else soft), 1.2)  # type: ignore[arg-type]

    def ceiling(self) -> Material:
        return Material("plain", (_hsv(0.12, self.rng.uniform(0, 0.06), self.rng.uniform(0.85, 0.97)),) * 3)

    def floor(self, patterns: tuple[str, ...] = ()) -> Material:
        pattern = self.pick(patterns or self.look.floors)
        if pattern in ("planks", "wood"):
            return replace(self._new_wood(), pattern=pattern, scale=1.2, gloss=0.25)
        if pattern == "carpet":
            base = self._three(
                self.rng.random(), self.between(self.look.fabric_saturation) * 0.5, self.between(self.look.fabric_value)
            )
            return Material("carpet", base, 0.8)
        base = self._three(
            self.rng.uniform(0, 0.15), self.rng.uniform(0, 0.25), self.between(self.look.paint_value) * 0.9
        )
        return Material(pattern, base, float(self.rng.uniform(1.2, 2.0)), gloss=0.4)

    def glow(self, strength: float) -> Material:
        warmth = self.between(self.look.warmth)
        return Material("plain", ((1.0, 1 - 0.25 * warmth, 1 - 0.6 * warmth),) * 3, emits=strength)

    def outdoors(self, strength: float) -> Material:
        sky, cloudy = _hsv(0.58, self.rng.uniform(0.05, 0.4), 0.95), _hsv(0, 0, 1)
        ground = _hsv(self.rng.uniform(0.08, 0.4), self.rng.uniform(0.2, 0.6), self.rng.uniform(0.2, 0.6))
        return Material("outdoors", (sky, ground, cloudy), 1.0, emits=strength, stretch=True)
