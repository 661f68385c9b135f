"""Is a calibration set good enough? What its pictures alone tell, and which sets are refused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError
from calibration.files import sha256_bytes
from calibration.wording import counted

__all__ = ["FEW", "Coverage", "check_images", "measure_coverage"]

FEW = 16
"""Four pictures served FastDepth nearly as well as 64 (README.md); 16 leave a margin for other networks."""

_FLAT = 2.0  # standard deviation in grey levels below which a picture shows nothing
_NOISE = 0.5  # correlation of neighbouring pixels; pictures of rooms lie above 0.8, noise at 0
_OTHER_PICTURES = "Use pictures that differ and show something: `edgekd distill` and `edgekd calibrate` make them"


@dataclass(frozen=True)
class Coverage:
    """What a set of pictures covers."""

    count: int
    distinct: int  # pictures that differ in at least one pixel
    flat: int  # pictures of one colour, or nearly
    darkest: float  # mean brightness of the darkest picture, 0..255
    brightest: float  # mean brightness of the brightest picture, 0..255
    smoothness: float  # median over pictures of the correlation between neighbouring pixels, -1..1

    def remarks(self) -> list[str]:
        """One line for each weakness that does not rule out calibrating on the set."""
        found = []
        total = counted(self.count, "calibration picture")
        if self.count < FEW:
            found.append(f"{total} {'is' if self.count == 1 else 'are'} few: use {FEW} or more")
        if self.distinct < self.count:
            copies = self.count - self.distinct
            found.append(f"{copies} of {total} {'is a duplicate' if copies == 1 else 'are duplicates'}")
        if self.flat:
            found.append(f"{self.flat} of {total} {'shows' if self.flat == 1 else 'show'} a single colour")
        if self.smoothness < _NOISE:
            found.append("The calibration pictures look like noise: int8 ranges from noise do not fit real pictures")
        return found


def check_images(images: NDArray[np.uint8]) -> Coverage:
    """What the pictures cover.

    Raises DataError for an unusable set: not uint8 [N, H, W, 3], no pictures, all flat, or one repeated.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise DataError(
            f"Calibration pictures must be uint8 [N, H, W, 3], not {images.dtype} {list(images.shape)}",
            fix="Frame the pictures with InputSpec.framing.image and stack them",
        )
    if images.size == 0:
        raise DataError(f"The calibration set is empty (shape {list(images.shape)})", fix=_OTHER_PICTURES)
    coverage = measure_coverage(images)
    if coverage.flat == coverage.count:
        colour = "black" if coverage.brightest < 1 else "of a single colour each"
        which = counted(coverage.count, "calibration picture is", "calibration pictures are")
        raise DataError(f"{'The' if coverage.count == 1 else 'All'} {which} {colour}", fix=_OTHER_PICTURES)
    if coverage.distinct == 1:
        raise DataError(f"The calibration set is one picture, {coverage.count} times", fix=_OTHER_PICTURES)
    return coverage


def measure_coverage(images: NDArray[np.uint8]) -> Coverage:
    """Measure pictures uint8 [N, H, W, 3], one at a time: the set may be larger than memory."""
    digests = set()
    brightness, deviations, smoothness = [], [], []
    for image in images:
        digests.add(sha256_bytes(np.ascontiguousarray(image).data))
        grey = image.mean(axis=2)
        brightness.append(float(grey.mean()))
        deviations.append(float(image.std(axis=(0, 1)).max()))
        smoothness.append(_neighbour_correlation(grey))
    return Coverage(
        count=len(images),
        distinct=len(digests),
        flat=sum(deviation < _FLAT for deviation in deviations),
        darkest=min(brightness),
        brightest=max(brightness),
        smoothness=float(np.median(smoothness)),
    )


def _neighbour_correlation(grey: NDArray[np.float64]) -> float:
    left, right = grey[:, :-1].ravel(), grey[:, 1:].ravel()
    if not left.size:
        return 1.0
    left, right = left - left.mean(), right - right.mean()
    norm = float(np.sqrt((left @ left) * (right @ right)))
    return float(left @ right) / norm if norm > 0 else 1.0
