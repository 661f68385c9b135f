"""Checking what a runner accepts, in one place so that every runtime gives the same message; and feeding it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError
from calibration.progress import Advance
from targets.base import Runner
from targets.input import InputSpec

__all__ = ["infer_each", "require_images"]


def require_images(images: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """`images`, contiguous. Raises DataError unless they are uint8 [N, height, width, 3] with N of 1 or more."""
    wanted = (spec.height, spec.width, 3)
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != wanted or not len(images):
        found = f"{images.dtype} {list(images.shape)}" if isinstance(images, np.ndarray) else type(images).__name__
        raise DataError(
            f"The model takes uint8 [N, {spec.height}, {spec.width}, 3] with N of 1 or more, not {found}",
            fix="Frame the pictures with InputSpec.framing.image and stack them",
        )
    return np.ascontiguousarray(images)


def infer_each(runner: Runner, images: NDArray[np.uint8], advance: Advance | None = None) -> NDArray[np.float32]:
    """Depth float32 [N, H, W] of pictures uint8 [N, H, W, 3], one at a time, which every artefact accepts."""
    depths = []
    for image in images:
        depths.append(runner.infer(image[None]))
        if advance is not None:
            advance(1)
    return np.concatenate(depths)
