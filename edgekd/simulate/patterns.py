"""Procedural textures.

A pattern is a function (rng, n) -> [n, n, 3]: two mixing weights a and b in 0..1 and a shade around 1, tileable. A
material mixes its three colours by a and b, so one pattern serves every colour. To add one, write a function and add it
to PATTERNS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PATTERNS", "Field"]

Field = NDArray[np.floating[Any]]
Pattern = Callable[[np.random.Generator, int], Field]


def cloud(rng: np.random.Generator, n: int, power: float, along: float = 1.0) -> Field:
    """Tileable noise with spectrum 1/f^power, mean 0, deviation 1; `along` > 1 stretches it along u."""
    fu, fv = np.meshgrid(np.fft.rfftfreq(n) * n * along, np.fft.fftfreq(n) * n)
    radius = np.sqrt(fu * fu + fv * fv)
    radius[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((n, n))) * radius ** (-power / 2), s=(n, n))
    field: Field = ((noise - noise.mean()) / (noise.std() + 1e-9)).astype(np.float32)
    return field


def _stack(a: Field | float, b: Field | float, shade: Field | float, n: int) -> Field:
    out = np.empty((n, n, 3), np.float32)
    out[..., 0], out[..., 1], out[..., 2] = np.clip(a, 0, 1), np.clip(b, 0, 1), np.clip(shade, 0, 2)
    return out


def _grid(n: int) -> tuple[Field, Field]:
    axis = (np.arange(n, dtype=np.float32) + 0.5) / n
    u, v = np.meshgrid(axis, axis)
    return u, v


def plain(rng: np.random.Generator, n: int) -> Field:
    return _stack(0, 0, 1, n)


def plaster(rng: np.random.Generator, n: int) -> Field:
    broad = cloud(rng, n, 3.0)
    return _stack(0.5 + 0.25 * broad, 0, 1 + 0.02 * cloud(rng, n, 1.0), n)


def carpet(rng: np.random.Generator, n: int) -> Field:
    return _stack(0.5 + 0.3 * cloud(rng, n, 0.4), 0.2 * cloud(rng, n, 2.5), 1 + 0.10 * cloud(rng, n, 0.2), n)


def fabric(rng: np.random.Generator, n: int) -> Field:
    u, v = _grid(n)
    weave = np.sin(2 * np.pi * 64 * u) * np.sin(2 * np.pi * 64 * v)
    return _stack(0.3 + 0.2 * cloud(rng, n, 2.5), 0, 1 + 0.06 * weave + 0.05 * cloud(rng, n, 0.5), n)


def wood(rng: np.random.Generator, n: int, bent: float = 0.6) -> Field:
    _, v = _grid(n)
    bend = cloud(rng, n, 4.0, 3.0)
    rings = np.sin(2 * np.pi * (9 * v + bent * bend))
    grain = cloud(rng, n, 1.6, 24.0)
    return _stack(0.45 + 0.35 * rings, 0.12 * grain, 1 + 0.06 * grain + 0.04 * cloud(rng, n, 3.0), n)


def planks(rng: np.random.Generator, n: int) -> Field:
    """Eight boards across a tile, each in two lengths of their own grain and tone, with dark joints."""
    board, field = n // 8, np.empty((n, n, 3), np.float32)
    logs = wood(rng, n, 0.4)
    for row in range(8):
        rows, cut = slice(row * board, (row + 1) * board), int(rng.integers(n))
        for part in (slice(0, n // 2), slice(n // 2, n)):
            shifted = np.roll(logs, (int(rng.integers(n)), int(rng.integers(n))), axis=(0, 1))
            field[rows, part] = shifted[rows, part]
            field[rows, part, 2] += rng.normal(0, 0.12)
            field[rows, part.start : part.start + 2, 2] -= 0.45
        field[rows.start : rows.start + 2, :, 2] -= 0.45
        field[rows] = np.roll(field[rows], cut, axis=1)
    field[..., 0] = 0.5 + 0.6 * (field[..., 0] - 0.5)
    return np.clip(field, 0, 2)


def tiles(rng: np.random.Generator, n: int, count: int = 4, shift: bool = False) -> Field:
    """Square tiles with joints (weight b) and a tone for each tile."""
    u, v = _grid(n)
    row = np.floor(v * count)
    x = (u * count + (0.5 * (row % 2) if shift else 0)) % count
    y = v * count
    edge = np.minimum(np.minimum(x % 1, 1 - x % 1), np.minimum(y % 1, 1 - y % 1))
    tone = rng.uniform(0, 1, (count, count))[row.astype(int) % count, np.floor(x).astype(int) % count]
    joint = np.clip((0.035 - edge) * n / count / 2 + 0.5, 0, 1)
    return _stack(0.3 * tone + 0.12 * cloud(rng, n, 3.0), joint, 1 + 0.04 * (tone - 0.5) * (1 - joint), n)


def bricks(rng: np.random.Generator, n: int) -> Field:
    u, v = _grid(n)
    row = np.floor(v * 8)
    x = (u * 4 + 0.5 * (row % 2)) % 4
    edge = np.minimum(np.minimum(x % 1, 1 - x % 1) * 2, np.minimum((v * 8) % 1, 1 - (v * 8) % 1))
    tone = rng.uniform(0, 1, (8, 4))[row.astype(int), np.floor(x).astype(int) % 4]
    joint = np.clip((0.08 - edge) * 10 + 0.5, 0, 1)
    return _stack(tone * 0.8, joint, 1 + 0.12 * cloud(rng, n, 1.0), n)


def metal(rng: np.random.Generator, n: int) -> Field:
    return _stack(0.4 + 0.2 * cloud(rng, n, 1.2, 30.0), 0, 1 + 0.03 * cloud(rng, n, 2.0), n)


def marble(rng: np.random.Generator, n: int) -> Field:
    vein = np.abs(cloud(rng, n, 3.2))
    return _stack(np.exp(-6 * vein), 0.25 + 0.15 * cloud(rng, n, 3.0), 1, n)


def stripes(rng: np.random.Generator, n: int) -> Field:
    u, _ = _grid(n)
    edges = np.sort(rng.uniform(0, 1, 6))
    which = np.searchsorted(edges, (u * 4) % 1)
    return _stack(
        (which % 2).astype(np.float32), (which % 3 == 2) * 1.0 * (which % 2 == 0), 1 + 0.05 * cloud(rng, n, 0.5), n
    )


def checks(rng: np.random.Generator, n: int) -> Field:
    u, v = _grid(n)
    a, b = (u * 8 % 1 < 0.5) * 1.0, (v * 8 % 1 < 0.5) * 1.0
    return _stack(0.5 * (a + b), a * b * 0.5, 1 + 0.05 * cloud(rng, n, 0.5), n)


def blooms(rng: np.random.Generator, n: int) -> Field:
    """Scattered blobs of two colours: printed cloth and wallpaper."""
    u, v = _grid(n)
    a, b = np.zeros((n, n), np.float32), np.zeros((n, n), np.float32)
    for number in range(22):
        du, dv = np.abs(u - rng.random()), np.abs(v - rng.random())
        du, dv = np.minimum(du, 1 - du), np.minimum(dv, 1 - dv)
        angle = np.arctan2(dv, du)
        spot = np.hypot(du, dv) < rng.uniform(0.03, 0.09) * (1 + 0.3 * np.cos(5 * angle))
        (a if number % 2 else b)[spot] = 1
    return _stack(a, b * (1 - a), 1 + 0.03 * cloud(rng, n, 0.5), n)


def rug(rng: np.random.Generator, n: int) -> Field:
    """Nested borders and a medallion, filling the whole surface."""
    u, v = _grid(n)
    edge = np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v))
    centre = np.abs(u - 0.5) + np.abs(v - 0.5)
    bands = np.floor(edge * rng.uniform(14, 30)) % 3
    inner = np.floor(centre * rng.uniform(8, 20)) % 3
    ring = np.where(edge < rng.uniform(0.1, 0.2), bands, inner)
    return _stack((ring == 1) * 1.0, (ring == 2) * 1.0, 1 + 0.12 * cloud(rng, n, 0.3), n)


def painting(rng: np.random.Generator, n: int) -> Field:
    """Patches of colour as a picture or poster has."""
    first, second = cloud(rng, n, rng.uniform(2.5, 4.5)), cloud(rng, n, rng.uniform(2.5, 4.5))
    _, v = _grid(n)
    horizon = 1 / (1 + np.exp(-(v - rng.uniform(0.3, 0.7)) * 60 - first * 2))
    return _stack(
        horizon, (second > rng.uniform(0.2, 1.0)) * 1.0 * (1 - 0.5 * horizon), 1 + 0.15 * cloud(rng, n, 1.5), n
    )


def text(rng: np.random.Generator, n: int) -> Field:
    """Lines of words as on paper, labels and screens."""
    u, v = _grid(n)
    line = np.floor(v * 24).astype(int)
    length, gaps = rng.uniform(0.4, 0.92, 24), cloud(rng, n, 1.0) > 0.2
    ink = (v * 24 % 1 < 0.55) & (u > 0.08) & (u < length[line]) & gaps[:: n // 24 or 1][line[:, 0] % 24]
    block = (np.abs(u - rng.random()) < 0.2) & (np.abs(v - rng.random()) < 0.15)
    return _stack(ink * 0.9, block * 1.0, 1, n)


def spines(rng: np.random.Generator, n: int) -> Field:
    """Books side by side."""
    u, v = _grid(n)
    edges = np.cumsum(rng.uniform(0.02, 0.06, 60))
    which = np.searchsorted(edges / edges[-1], u)
    a, b, tall = rng.random(61) ** 2, rng.random(61) ** 2, rng.uniform(0.0, 0.22, 61)
    dark = np.where(v < tall[which], 0.08, 1.0) * np.where(
        np.abs(u[..., None] - edges / edges[-1]).min(-1) < 0.0025, 0.3, 1
    )
    label = (v > 0.45) & (v < 0.6) & (which % 3 == 0)
    return _stack(
        a[which], b[which] * (1 - a[which]), dark * np.where(label, 1.5, 1) * (0.6 + 0.6 * rng.random(61)[which]), n
    )


def outdoors(rng: np.random.Generator, n: int) -> Field:
    """What a window shows: sky (c0) above trees or houses (c1), clouds (c2)."""
    _, v = _grid(n)
    skyline = 0.55 + 0.08 * cloud(rng, n, 3.0)[:1] + 0.05 * rng.standard_normal()
    ground = np.clip((v - skyline) * 20, 0, 1)
    return _stack(
        ground * (0.8 + 0.2 * cloud(rng, n, 1.5)), np.clip(cloud(rng, n, 3.0), 0, 1) * (1 - ground) * 0.7, 1.0, n
    )


PATTERNS: dict[str, tuple[Pattern, int]] = {  # name: (function, number of variants)
    "plain": (plain, 1),
    "plaster": (plaster, 2),
    "carpet": (carpet, 2),
    "fabric": (fabric, 2),
    "wood": (wood, 4),
    "planks": (planks, 3),
    "tiles": (tiles, 2),
    "small_tiles": (lambda rng, n: tiles(rng, n, 10), 1),
    "bond_tiles": (lambda rng, n: tiles(rng, n, 6, True), 1),
    "bricks": (bricks, 2),
    "metal": (metal, 1),
    "marble": (marble, 2),
    "stripes": (stripes, 3),
    "checks": (checks, 1),
    "blooms": (blooms, 3),
    "rug": (rug, 4),
    "painting": (painting, 12),
    "text": (text, 4),
    "spines": (spines, 4),
    "outdoors": (outdoors, 4),
}
