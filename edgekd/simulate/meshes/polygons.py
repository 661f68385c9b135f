"""The concave faces of an OBJ file cut into triangles: trimesh cuts every polygon from its first corner, which covers
what lies outside a concave one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

__all__ = ["split_concave"]

_POLYGON = re.compile(rb"^\s*f(?:[ \t]+\S+){4}", re.MULTILINE)
_MOST_CORNERS = 200
_MOST_TESTS = 2_000_000  # of a corner against an ear, in one file: a few seconds

_Corner = tuple[float, float]
_Triangle = tuple[int, int, int]


def split_concave(data: bytes) -> bytes:
    """The file with its concave faces as triangles. Left to trimesh: those that cross themselves or have hundreds of
    corners, and what cannot be read."""
    if not _POLYGON.search(data):
        return data
    lines = data.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ").split(b"\n")
    try:
        concave = list(_concave(lines))
    except (ValueError, IndexError):
        return data
    tests = [_MOST_TESTS]
    for number, corners in concave:
        words = lines[number].split()[1:]
        if triangles := _ears(corners, tests):
            lines[number] = b"\n".join(b"f " + b" ".join(words[corner] for corner in one) for one in triangles)
    return b"\n".join(lines) if concave else data


def _concave(lines: Sequence[bytes]) -> Iterator[tuple[int, list[_Corner]]]:
    """The line of each concave face and its corners in its own plane, counter-clockwise."""
    points: list[list[float]] = []
    polygons: dict[int, list[tuple[int, list[int]]]] = {}  # by number of corners
    for number, line in enumerate(lines):
        words = line.split()
        if words[:1] == [b"v"]:
            points.append([float(word) for word in words[1:4]])
        elif words[:1] == [b"f"] and 5 <= len(words) <= _MOST_CORNERS + 1:
            indices = [int(word.split(b"/")[0]) for word in words[1:]]
            corners = [index - 1 if index > 0 else len(points) + index for index in indices]
            polygons.setdefault(len(corners), []).append((number, corners))
    space = np.array(points, np.float64).reshape(-1, 3)
    for alike in polygons.values():
        places = space[np.array([corners for _, corners in alike])]
        places = places - places[:, :1]
        normals = np.cross(places, np.roll(places, -1, axis=1)).sum(axis=1)
        edges = np.roll(places, -1, axis=1) - places
        turns = (np.cross(np.roll(edges, 1, axis=1), edges) * normals[:, None]).sum(axis=2)
        for index in np.flatnonzero(turns.min(axis=1) < -1e-6 * (normals**2).sum(axis=1)).tolist():
            yield alike[index][0], _in_plane(places[index], normals[index])


def _in_plane(places: Any, normal: Any) -> list[_Corner]:
    axis = int(np.abs(normal).argmax())
    first, second = (axis + 1) % 3, (axis + 2) % 3
    if normal[axis] < 0:
        first, second = second, first
    return [(float(place[first]), float(place[second])) for place in places]


def _ears(corners: Sequence[_Corner], tests: list[int]) -> list[_Triangle]:
    """Triangles that cover the polygon, cut off one by one; empty where none can be cut or no `tests` are left."""
    left, made = list(range(len(corners))), list[_Triangle]()
    while len(left) > 3:
        for place, tip in enumerate(left):
            ear = (left[place - 1], tip, left[(place + 1) % len(left)])
            tests[0] -= len(left)
            if tests[0] < 0:
                return []
            if _is_ear(corners, ear, left):
                made.append(ear)
                del left[place]
                break
        else:
            return []
    return [*made, (left[0], left[1], left[2])]


def _is_ear(corners: Sequence[_Corner], ear: _Triangle, left: Sequence[int]) -> bool:
    a, b, c = (corners[corner] for corner in ear)
    if _turn(a, b, c) <= 0:
        return False
    others = (corners[corner] for corner in left)  # a hole is joined by corners that occur twice
    return not any(
        p not in (a, b, c) and _turn(a, b, p) >= 0 and _turn(b, c, p) >= 0 and _turn(c, a, p) >= 0 for p in others
    )


def _turn(a: _Corner, b: _Corner, c: _Corner) -> float:
    """Twice the area of the triangle, negative if it is clockwise."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
