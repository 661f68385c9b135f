"""From linear light to the picture in the file: exposure, lens, sensor, tone curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekd.simulate.looks import Lens, Range
from edgekd.simulate.shapes import Floats

__all__ = ["develop"]


def develop(radiance: Floats, lens: Lens, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Expose, blur, add noise and encode a linear picture [H, W, 3] as sRGB bytes."""

    def draw(limits: Range) -> float:
        return float(rng.uniform(*limits))

    goal, vignette, blur, cast = draw(lens.exposure), draw(lens.vignette), draw(lens.blur), draw(lens.cast)
    contrast, saturation = draw(lens.contrast), draw(lens.saturation)
    shot, read = draw(lens.shot_noise), draw(lens.read_noise)
    height, width = radiance.shape[:2]
    grey = radiance[::4, ::4].mean(axis=2)
    middle = float(np.exp(np.log(grey + 1e-4).mean()))
    gain = np.array([2 ** (cast / 2), 1.0, 2 ** (-cast / 2)]) * (goal**2.2) / middle
    image = radiance * gain.astype(np.float32)
    if vignette:
        rows, columns = np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32)
        image *= (1 - np.float32(vignette / 2) * (rows[:, None] ** 2 + columns[None, :] ** 2))[..., None]
    if blur:
        image = _blurred(image, blur * width / 320)
    if shot or read:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        image += noise * np.sqrt(np.float32(shot * shot) * np.maximum(image, 0) + np.float32(read * read))
    image = image / (1 + np.maximum(image - 0.6, 0))  # highlights roll off
    image = np.clip(image, 0, 1) ** np.float32(1 / 2.2)
    if contrast:
        image += np.float32(contrast) * (image * image * (3 - 2 * image) - image)
    if saturation != 1:
        luminance = image @ np.array([0.3, 0.59, 0.11], np.float32)
        image = luminance[..., None] + np.float32(saturation) * (image - luminance[..., None])
    picture: NDArray[np.uint8] = np.clip(image * 255 + np.float32(0.5), 0, 255).astype(np.uint8)
    return picture


def _blurred(image: Floats, deviation: float) -> Floats:
    """A Gaussian of a small deviation, as a separable kernel of three or five taps."""
    reach = 1 if deviation < 0.7 else 2
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    for axis in (0, 1):
        padding = [(reach, reach) if number == axis else (0, 0) for number in range(3)]
        padded = np.pad(image, padding, mode="edge")
        length = image.shape[axis]
        image = sum(tap * padded.take(range(k, k + length), axis=axis) for k, tap in enumerate(taps))
    return image
