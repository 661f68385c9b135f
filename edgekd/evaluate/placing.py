"""Bringing a prediction and a truth onto one grid, exact about pixel centres.

A picture's pixel (row i, column j) covers [i, i + 1) x [j, j + 1) of its own plane and has its centre at (i + 0.5,
j + 0.5). The network sees the box `Framing.box` of that plane; row k of its H rows has its centre at
top + (k + 0.5) (bottom - top) / H.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError
from edgekd.evaluate.protocols import ScoringProtocol
from targets.input import Framing

__all__ = ["place"]


def place(
    prediction: NDArray[Any], truth: NDArray[Any], seen: Framing, protocol: ScoringProtocol
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """(prediction, truth, covered) on the protocol's grid: float64 [h, w] in metres twice, and bool [h, w].

    `prediction` [H, W] is what the network gave for the picture that `truth` [height, width] belongs to, framed by
    `seen`; `covered` is where the network saw anything. Raises DataError when the crop does not fit the truth.
    """
    if protocol.grid == "network":
        framed = seen.nearest(truth).astype(np.float64)
        return prediction.astype(np.float64), framed, np.ones(framed.shape, bool)
    height, width = truth.shape
    top, bottom, left, right = _cropped(truth, protocol)
    if protocol.framing is None:
        rows, columns = np.arange(top, bottom) + 0.5, np.arange(left, right) + 0.5
        target = truth[top:bottom, left:right]
    else:
        rows, columns = _centres(protocol.framing, height, width)
        target = protocol.framing.nearest(truth)
    box_left, box_top, box_right, box_bottom = seen.box(height, width)
    inside_rows = (rows >= box_top) & (rows <= box_bottom)
    inside_columns = (columns >= box_left) & (columns <= box_right)
    sampled = _bilinear(
        prediction.astype(np.float64),
        (rows - box_top) / (box_bottom - box_top) * prediction.shape[0] - 0.5,
        (columns - box_left) / (box_right - box_left) * prediction.shape[1] - 0.5,
    )
    return sampled, target.astype(np.float64), inside_rows[:, None] & inside_columns[None, :]


def _cropped(truth: NDArray[Any], protocol: ScoringProtocol) -> tuple[int, int, int, int]:
    height, width = truth.shape
    if protocol.crop is None:
        return 0, height, 0, width
    only = protocol.crop.only
    if only is not None and only != (height, width):
        wanted = f"{only[0]}x{only[1]}"
        raise DataError(
            f"The crop of protocol {protocol.name!r} is defined for depth of {wanted}, not {height}x{width}",
            fix="Use uncropped data of that size, or --protocol plain",
        )
    return protocol.crop.box(height, width)


def _centres(framing: Framing, height: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    left, top, right, bottom = framing.box(height, width)
    return (
        top + (np.arange(framing.height) + 0.5) * (bottom - top) / framing.height,
        left + (np.arange(framing.width) + 0.5) * (right - left) / framing.width,
    )


def _bilinear(
    plane: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sample at fractional indices, with the border pixels continued outwards."""
    top, bottom, down = _neighbours(rows, plane.shape[0])
    left, right, across = _neighbours(columns, plane.shape[1])
    with np.errstate(invalid="ignore"):  # the prediction may hold infinities; they are counted later
        upper = _blend(plane[top], plane[bottom], down[:, None])
        return _blend(upper[:, left], upper[:, right], across[None, :])


def _neighbours(
    index: NDArray[np.float64], size: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    index = index.clip(0, size - 1)
    lower = np.floor(index).astype(np.intp)
    return lower, np.minimum(lower + 1, size - 1), index - lower


def _blend(first: NDArray[np.float64], second: NDArray[np.float64], part: NDArray[np.float64]) -> NDArray[np.float64]:
    # A pixel of weight 0 must not count, even if it is NaN.
    blended: NDArray[np.float64] = np.where(part == 0, first, first * (1 - part) + second * part)
    return blended
