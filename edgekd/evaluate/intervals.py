"""Confidence intervals of a mean over images, by bootstrap (B. Efron, 1979; percentile method)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEWEST_SCENES", "bootstrap"]

FEWEST_SCENES = 10
"""With fewer scenes, images are drawn instead: intervals from a handful of scenes are far too narrow or empty."""

_DRAWS = 2000
_ROWS = 250  # draws at a time: weights for 2,000 draws of 10,000 images would take 160 MB


def bootstrap(values: NDArray[np.float64], scenes: Sequence[str]) -> tuple[NDArray[np.float64] | None, str]:
    """95 % intervals of the means of `values` [images, figures]: float64 [figures, 2], and what was drawn.

    Frames of one scene resemble each other, so whole scenes are drawn if there are at least ten of them. Otherwise
    images are drawn, and the interval says nothing about other scenes. One image alone has no interval: None.
    """
    names, scene = np.unique(np.asarray(scenes), return_inverse=True)
    unit = "scenes" if len(names) >= FEWEST_SCENES else "images"
    if unit == "images":
        scene = np.arange(len(values))
    count = int(scene.max()) + 1
    if count < 2:
        return None, unit
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, scene, values)
    sizes = np.bincount(scene, minlength=count).astype(np.float64)
    generator = np.random.default_rng(0)
    means = []
    for _ in range(_DRAWS // _ROWS):
        weights = generator.multinomial(count, np.full(count, 1 / count), size=_ROWS).astype(np.float64)
        means.append((weights @ sums) / (weights @ sizes)[:, None])
    return np.quantile(np.concatenate(means), (0.025, 0.975), axis=0).T, unit
