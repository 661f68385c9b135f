"""The kinds of rooms: how large they are and what stands in them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "RoomKind"]

Count = tuple[int, int]


@dataclass(frozen=True)
class RoomKind:
    """Sizes in metres; `pieces` gives how many of each piece of furniture, placed in this order while there is space."""

    share: float  # how often, relative to the others
    width: tuple[float, float]
    depth: tuple[float, float]
    pieces: tuple[tuple[str, Count], ...]
    height: tuple[float, float] = (2.4, 2.9)


KINDS: dict[str, RoomKind] = {
    "living_room": RoomKind(
        3.0,
        (3.4, 5.8),
        (3.4, 6.2),
        (
            ("rug", (0, 1)),
            ("sofa", (1, 2)),
            ("sideboard", (0, 1)),
            ("dining_table", (0, 1)),
            ("bookcase", (0, 3)),
            ("armchair", (0, 2)),
            ("chest_of_drawers", (0, 1)),
            ("floor_lamp", (0, 2)),
            ("potted_tree", (0, 2)),
            ("side_table", (0, 1)),
            ("picture", (2, 5)),
            ("wall_shelf", (0, 2)),
        ),
    ),
    "bedroom": RoomKind(
        2.0,
        (2.8, 4.5),
        (3.0, 5.0),
        (
            ("rug", (0, 1)),
            ("bed", (1, 1)),
            ("wardrobe", (1, 2)),
            ("chest_of_drawers", (0, 1)),
            ("desk", (0, 1)),
            ("chair", (0, 1)),
            ("bookcase", (0, 1)),
            ("floor_lamp", (0, 1)),
            ("picture", (1, 4)),
            ("wall_shelf", (0, 2)),
        ),
    ),
    "office": RoomKind(
        2.0,
        (3.0, 6.0),
        (3.0, 6.0),
        (
            ("desk", (1, 4)),
            ("bookcase", (1, 3)),
            ("round_table", (0, 1)),
            ("sideboard", (0, 1)),
            ("chest_of_drawers", (0, 1)),
            ("potted_tree", (0, 2)),
            ("chair", (0, 2)),
            ("picture", (1, 4)),
            ("wall_shelf", (0, 2)),
        ),
    ),
}
