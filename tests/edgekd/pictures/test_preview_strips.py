"""Strips: all panels are there, unchanged and on one scale, with room for their labels."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.errors import DataError
from edgekd.pictures import colour_depth, depth_range, preview_strip, strip

PICTURES = np.random.default_rng(0).integers(0, 255, (3, 24, 32, 3), dtype=np.uint8)
DEPTHS = np.random.default_rng(1).uniform(1, 5, (3, 24, 32)).astype(np.float32)


def holds(sheet: np.ndarray, panel: np.ndarray) -> bool:
    """Whether the panel is somewhere in the sheet, pixel for pixel."""
    height, width = panel.shape[:2]
    corners = np.argwhere((sheet[: -height + 1, : -width + 1] == panel[0, 0]).all(axis=2))
    return any((sheet[y : y + height, x : x + width] == panel).all() for y, x in corners)


def test_all_panels_are_shown_on_one_scale() -> None:
    sheet = preview_strip({"simulated": PICTURES}, {"teacher's depth": DEPTHS, "student's depth": DEPTHS * 1.5})
    low, high = depth_range([*DEPTHS, *(DEPTHS * 1.5)])
    for n in range(3):
        assert holds(sheet, PICTURES[n])
        assert holds(sheet, colour_depth(DEPTHS[n], low, high))
        assert holds(sheet, colour_depth(DEPTHS[n] * 1.5, low, high))


def test_without_depth_there_is_no_scale() -> None:
    assert strip([("a", [PICTURES[0]])]).shape[1] < strip([("a", [PICTURES[0]]), ("b", [DEPTHS[0]])]).shape[1]


def test_small_panels_are_enlarged_and_labels_are_never_cut() -> None:
    short = strip([("x", [PICTURES[0]])])
    long = strip([("a label that is much wider than the one panel under it", [PICTURES[0]])])
    assert long.shape[1] > short.shape[1] and (long[:18, -10:] < 200).any()
    sheet = strip([("a", [PICTURES[0][:12, :16]]), ("b", [PICTURES[1]])])
    assert holds(sheet, PICTURES[0][:12, :16].repeat(2, axis=0).repeat(2, axis=1))


def test_a_student_that_is_not_there() -> None:
    assert preview_strip({"simulated": PICTURES}, {}).dtype == np.uint8


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(DataError, match="needs panels"):
        strip([])
    with pytest.raises(DataError, match=r"float32 \[24, 32, 1\]"):
        strip([("a", [DEPTHS[0][..., None]])])


def test_the_smallest_panels() -> None:
    tiny = strip([("a", [np.full((2, 2), 3.0)])])
    assert holds(tiny, colour_depth(np.full((2, 2), 3.0), *depth_range([np.full((2, 2), 3.0)])))
