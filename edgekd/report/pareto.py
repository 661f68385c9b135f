"""Which points no other point beats in everything (V. Pareto)."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["front"]


def front(points: Sequence[tuple[float, ...]]) -> list[int]:
    """Indices, sorted by first figure, of the points for which no other is as low in all figures and lower in one."""
    kept = [
        place
        for place, point in enumerate(points)
        if not any(
            all(a <= b for a, b in zip(other, point, strict=True)) and tuple(other) != tuple(point) for other in points
        )
    ]
    return sorted(kept, key=lambda place: points[place])
