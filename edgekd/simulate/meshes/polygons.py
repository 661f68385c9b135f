"""The concave faces of an OBJ file cut into triangles: trimesh cuts every polygon from its first corner, which covers
what lies outside a concave one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["split_concave"]

_POLYGON = re.compile(rb"^\s*f(?:[ \t]+\S+){4}", re.MULTILINE)
_MOST_CORNERS = 1000

Corners = NDArray[np.float64]


def split_concave(data: bytes) -> bytes:
    """The file with its concave faces as triangles. Left to trimesh: those that cross themselves or have a thousand
    corners, and what cannot be read."""
    if not _POLYGON.search(data):
        return data
    lines = data.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ").split(b"\n")
    try:
        concave = list(_concave(lines))
    except (ValueError, IndexError):
        return data
    for number, corners in concave:
        words = lines[number].split()[1:]
        if triangles := _triangles(corners):
            lines[number] = b"\n".join(b"f " + b" ".join(words[corner] for corner in one) for one in triangles)
    return b"\n".join(lines) if concave else data


def _concave(lines: Sequence[bytes]) -> Iterator[tuple[int, Corners]]:
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


def _in_plane(places: NDArray[np.float64], normal: NDArray[np.float64]) -> Corners:
    axis = int(np.abs(normal).argmax())
    first, second = (axis + 1) % 3, (axis + 2) % 3
    if normal[axis] < 0:
        first, second = second, first
    return np.ascontiguousarray(places[:, [first, second]])


def _triangles(corners: Corners) -> list[list[int]]:
    """Triangles that cover the polygon, as triples of its corners; none where it crosses itself."""
    import mapbox_earcut

    found = mapbox_earcut.triangulate_float64(corners, np.array([len(corners)], np.uint32)).reshape(-1, 3)
    covered = sum(_area(corners[triangle]) for triangle in found)
    whole = _area(corners)
    return found.tolist() if abs(covered - whole) <= 1e-6 * whole else []


def _area(corners: Corners) -> float:
    """The area of a polygon that is counter-clockwise."""
    x, y = corners.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
