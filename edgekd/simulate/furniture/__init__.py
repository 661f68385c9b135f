"""The furniture: a piece is a function (rng, palette) -> parts, and one entry of FURNITURE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgekd.simulate.furniture import fittings, seating, small, storage, tables
from edgekd.simulate.palette import Palette
from edgekd.simulate.shapes import Part

__all__ = ["CLUTTER", "FURNITURE", "Piece"]

Place = Literal["wall", "free", "hung", "ceiling", "floor", "top"]


@dataclass(frozen=True)
class Piece:
    """How to make a piece of furniture, and where it goes.

    `place`: with its back to a wall, free in the room, hung on a wall at a height of `at`, under the ceiling, flat on the floor,
    or on top of something. `seats` names what is drawn up around it (`seats_all_round`) or to its front.
    """

    make: Callable[[np.random.Generator, Palette], list[Part]]
    place: Place
    at: tuple[float, float] = (0.0, 0.0)
    seats: tuple[str, ...] = ()
    seats_all_round: bool = False
    before: str | None = None  # what stands in front of it, at arm's length
    beside: str | None = None  # what stands at its sides


FURNITURE: dict[str, Piece] = {
    "armchair": Piece(seating.armchair, "wall", beside="side_table"),
    "bed": Piece(seating.bed, "wall", beside="nightstand"),
    "chair": Piece(seating.chair, "wall"),
    "office_chair": Piece(seating.office_chair, "free"),
    "sofa": Piece(seating.sofa, "wall", before="coffee_table", beside="side_table"),
    "stool": Piece(seating.stool, "free"),
    "coffee_table": Piece(tables.coffee_table, "free"),
    "desk": Piece(tables.desk, "wall", seats=("office_chair", "chair")),
    "dining_table": Piece(tables.dining_table, "free", seats=("chair",), seats_all_round=True),
    "round_table": Piece(tables.round_table, "free", seats=("chair", "stool"), seats_all_round=True),
    "side_table": Piece(tables.side_table, "wall"),
    "bookcase": Piece(storage.bookcase, "wall"),
    "chest_of_drawers": Piece(storage.chest_of_drawers, "wall"),
    "nightstand": Piece(storage.nightstand, "wall"),
    "sideboard": Piece(storage.sideboard, "wall"),
    "wardrobe": Piece(storage.wardrobe, "wall"),
    "picture": Piece(fittings.picture, "hung", at=(1.3, 1.7)),
    "wall_shelf": Piece(fittings.wall_shelf, "hung", at=(1.2, 1.7)),
    "curtain": Piece(fittings.curtain, "hung", at=(0.02, 0.1)),
    "rug": Piece(fittings.rug, "floor"),
    "floor_lamp": Piece(fittings.floor_lamp, "wall"),
    "ceiling_lamp": Piece(fittings.ceiling_lamp, "ceiling"),
    "potted_tree": Piece(fittings.potted_tree, "wall"),
    "book_row": Piece(small.book_row, "top"),
    "book_stack": Piece(small.book_stack, "top"),
    "bottle": Piece(small.bottle, "top"),
    "bowl": Piece(small.bowl, "top"),
    "carton": Piece(small.carton, "top"),
    "cup": Piece(small.cup, "top"),
    "desk_lamp": Piece(small.desk_lamp, "top"),
    "laptop": Piece(small.laptop, "top"),
    "monitor": Piece(small.monitor, "top"),
    "paper": Piece(small.paper, "top"),
    "plant_pot": Piece(small.plant_pot, "top"),
    "television": Piece(small.television, "top"),
    "vase": Piece(small.vase, "top"),
}

CLUTTER: dict[str, tuple[str, ...]] = {  # what may stand on a surface of this kind; the first one is likelier
    "table": ("cup", "book_stack", "bowl", "bottle", "vase", "paper", "laptop", "plant_pot", "carton"),
    "desk": ("monitor", "laptop", "paper", "cup", "book_stack", "desk_lamp", "carton", "paper", "plant_pot"),
    "bedside": ("desk_lamp", "book_stack", "cup", "bottle", "plant_pot"),
    "books": ("book_row", "book_row", "book_row", "carton", "vase", "plant_pot", "book_stack"),
    "shelf": ("book_stack", "carton", "bottle", "plant_pot", "cup", "bowl"),
    "top": ("carton", "vase", "plant_pot", "book_stack", "bowl", "desk_lamp"),
    "media": ("television", "plant_pot", "book_stack", "vase", "desk_lamp", "carton"),
}
