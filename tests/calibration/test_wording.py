"""Counts in messages."""

from __future__ import annotations

from calibration.wording import counted


def test_one_is_singular_and_anything_else_is_not() -> None:
    assert [counted(count, "frame") for count in (0, 1, 2)] == ["0 frames", "1 frame", "2 frames"]
    assert [counted(count, "core") for count in (1.0, 1.5, 16.0)] == ["1 core", "1.5 cores", "16 cores"]
    assert counted(1, "mesh is", "meshes are") == "1 mesh is" and counted(3, "mesh is", "meshes are") == "3 meshes are"
    assert counted(2_000_000, "prediction") == "2000000 predictions"
