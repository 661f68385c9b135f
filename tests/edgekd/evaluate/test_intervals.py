"""The bootstrap against the textbook's normal interval, and that it draws scenes where frames are alike."""

from __future__ import annotations

import numpy as np

from edgekd.evaluate.intervals import bootstrap


def test_is_near_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(5, 2, (400, 1))
    ends, drawn = bootstrap(values, [str(n // 200) for n in range(400)])
    half = 1.96 * values.std() / 20
    assert drawn == "images"
    np.testing.assert_allclose(ends[0], [values.mean() - half, values.mean() + half], atol=0.1 * half)


def test_scenes_are_drawn_whole() -> None:
    """Twenty scenes of twenty equal frames are twenty samples, not four hundred: the interval is much wider."""
    scene_values = np.random.default_rng(1).normal(0, 1, 20)
    values = np.repeat(scene_values, 20)[:, None]
    ends, drawn = bootstrap(values, [str(n // 20) for n in range(400)])
    assert drawn == "scenes"
    half = 1.96 * scene_values.std() / np.sqrt(20)
    np.testing.assert_allclose(ends[0, 1] - ends[0, 0], 2 * half, rtol=0.1)


def test_is_the_same_every_time() -> None:
    values = np.random.default_rng(2).normal(0, 1, (30, 3))
    first, again = bootstrap(values, ["a"] * 30)[0], bootstrap(values, ["a"] * 30)[0]
    assert (first == again).all() and first.shape == (3, 2)


def test_one_image_has_none() -> None:
    assert bootstrap(np.array([[0.25]]), ["a"]) == (None, "images")


def test_ten_scenes_are_enough_to_be_drawn() -> None:
    values = np.arange(20.0)[:, None]
    assert bootstrap(values, [str(n // 2) for n in range(20)])[1] == "scenes"
    assert bootstrap(values, [str(min(n // 2, 8)) for n in range(20)])[1] == "images"
