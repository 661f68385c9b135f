"""All patterns baked into one array of small tiles with their mip levels, so that a pixel's texture is one look-up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgekd.simulate.patterns import PATTERNS, Field

__all__ = ["LEVELS", "SIDE", "Atlas", "atlas"]

SIDE = 256  # texels along a tile
LEVELS = 8


@dataclass(frozen=True)
class Atlas:
    """All tiles in one array: texels uint8 [N, 3] of a, b and shade / 2."""

    texels: NDArray[np.uint8]
    first: dict[str, tuple[int, int]]  # pattern: (its first tile, number of variants)
    means: Field  # [tiles, 3] mean a, b, shade
    starts: NDArray[np.int32]  # [LEVELS] first texel of each level within a tile
    stride: int  # texels from one tile to the next


@lru_cache(maxsize=1)
def atlas() -> Atlas:
    """Bake the atlas (half a second, once per process); its seeds are fixed, so it is always the same."""
    tiles_made: list[NDArray[np.uint8]] = []
    first: dict[str, tuple[int, int]] = {}
    means: list[Field] = []
    for name, (make, variants) in PATTERNS.items():
        first[name] = (len(means), variants)
        for variant in range(variants):
            seed = int.from_bytes(name.encode()[:8].ljust(8, b"_"), "big")
            field = make(np.random.Generator(np.random.Philox(key=[seed, variant])), SIDE)
            means.append(field.mean(axis=(0, 1)))
            for _ in range(LEVELS):
                tiles_made.append(np.round(field.reshape(-1, 3) * [255, 255, 127.5]).astype(np.uint8))
                field = (field[::2, ::2] + field[1::2, ::2] + field[::2, 1::2] + field[1::2, 1::2]) / 4
    sizes = [(SIDE >> level) ** 2 for level in range(LEVELS)]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    return Atlas(np.concatenate(tiles_made), first, np.array(means, np.float32), starts, sum(sizes))
