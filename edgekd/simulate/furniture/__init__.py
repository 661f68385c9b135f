"""The furniture: a piece is a function (rng, palette) -> parts, and one entry of FURNITURE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgekd.simulate.furniture import bathroom, fittings, kitchen, seating, small, storage, tables, work
from edgekd.simulate.palette import Palette
from edgekd.simulate.shapes import Part

__all__ = ["CLUTTER", "FURNITURE", "Near", "Piece"]

Place = Literal["wall", "free", "hung", "ceiling", "floor", "top", "top_back"]


@dataclass(frozen=True)
class Near:
    """What comes with a piece: around or at its front, facing it; ahead of it; at its sides; on the wall above it."""

    pieces: tuple[str, ...]  # one of these
    where: Literal["around", "front", "ahead", "sides", "above"]
    chance: float = 0.8  # for each place


@dataclass(frozen=True)
class Piece:
    """How to make a piece of furniture and where it goes: back to a wall, free in the room, hung with its middle at a
    height of `at` metres, under the ceiling, flat on the floor, or on top of something (anywhere, or at the back)."""

    make: Callable[[np.random.Generator, Palette], list[Part]]
    place: Place
    at: tuple[float, float] = (0.0, 0.0)
    near: tuple[Near, ...] = ()


_PICTURE = Near(("picture", "picture", "wall_shelf", "wall_clock"), "above", 0.6)

FURNITURE: dict[str, Piece] = {
    # to sit and lie on
    "armchair": Piece(seating.armchair, "wall", near=(Near(("side_table", "floor_lamp"), "sides", 0.3),)),
    "bar_stool": Piece(seating.bar_stool, "free"),
    "bed": Piece(seating.bed, "wall", near=(Near(("nightstand", "side_table"), "sides"), _PICTURE)),
    "bench": Piece(seating.bench, "wall"),
    "bunk_bed": Piece(seating.bunk_bed, "wall"),
    "chair": Piece(seating.chair, "wall"),
    "cot": Piece(seating.cot, "wall"),
    "office_chair": Piece(seating.office_chair, "free"),
    "pouf": Piece(seating.pouf, "free"),
    "sofa": Piece(
        seating.sofa,
        "wall",
        near=(
            Near(("coffee_table", "pouf"), "ahead"),
            Near(("side_table", "floor_lamp", "potted_tree"), "sides", 0.5),
            _PICTURE,
        ),
    ),
    "stool": Piece(seating.stool, "free"),
    "wing_chair": Piece(seating.wing_chair, "wall"),
    # tables
    "coffee_table": Piece(tables.coffee_table, "free"),
    "console_table": Piece(tables.console_table, "wall", near=(Near(("mirror", "picture"), "above"),)),
    "desk": Piece(tables.desk, "wall", near=(Near(("office_chair", "chair"), "front", 0.9), _PICTURE)),
    "dining_table": Piece(tables.dining_table, "free", near=(Near(("chair",), "around", 0.85),)),
    "folding_table": Piece(tables.folding_table, "free", near=(Near(("chair", "stool"), "around", 0.6),)),
    "round_table": Piece(tables.round_table, "free", near=(Near(("chair", "stool"), "around", 0.8),)),
    "side_table": Piece(tables.side_table, "wall"),
    # storage
    "bookcase": Piece(storage.bookcase, "wall"),
    "chest_of_drawers": Piece(storage.chest_of_drawers, "wall", near=(Near(("mirror", "picture"), "above", 0.6),)),
    "cube_shelf": Piece(storage.cube_shelf, "wall"),
    "display_cabinet": Piece(storage.display_cabinet, "wall"),
    "metal_shelf": Piece(storage.metal_shelf, "wall"),
    "nightstand": Piece(storage.nightstand, "wall"),
    "shoe_rack": Piece(storage.shoe_rack, "wall", near=(Near(("coat_hooks", "mirror"), "above"),)),
    "sideboard": Piece(storage.sideboard, "wall", near=(Near(("wall_television", "picture"), "above", 0.6),)),
    "trunk": Piece(storage.trunk, "wall"),
    "wardrobe": Piece(storage.wardrobe, "wall"),
    # kitchen
    "cooker": Piece(kitchen.cooker, "wall", near=(Near(("extractor",), "above"),)),
    "extractor": Piece(kitchen.extractor, "hung", at=(1.95, 2.0)),
    "fridge": Piece(kitchen.fridge, "wall"),
    "kitchen_island": Piece(kitchen.kitchen_island, "free", near=(Near(("bar_stool", "stool"), "around", 0.5),)),
    "kitchen_run": Piece(kitchen.kitchen_run, "wall", near=(Near(("wall_cupboard",), "above", 0.8),)),
    "wall_cupboard": Piece(kitchen.wall_cupboard, "hung", at=(1.75, 1.85)),
    "washing_machine": Piece(kitchen.washing_machine, "wall"),
    # bathroom
    "bathtub": Piece(bathroom.bathtub, "wall"),
    "mirror": Piece(bathroom.mirror, "hung", at=(1.5, 1.6)),
    "shower": Piece(bathroom.shower, "wall"),
    "toilet": Piece(bathroom.toilet, "wall"),
    "towel_rail": Piece(bathroom.towel_rail, "hung", at=(1.1, 1.3)),
    "washbasin": Piece(bathroom.washbasin, "wall", near=(Near(("mirror",), "above", 0.9),)),
    # work
    "barrel": Piece(work.barrel, "free"),
    "box_stack": Piece(work.box_stack, "wall"),
    "filing_cabinet": Piece(work.filing_cabinet, "wall"),
    "ladder": Piece(work.ladder, "free"),
    "locker": Piece(work.locker, "wall"),
    "pallet": Piece(work.pallet, "free"),
    "pallet_rack": Piece(work.pallet_rack, "wall"),
    "printer": Piece(work.printer, "wall"),
    "server_rack": Piece(work.server_rack, "wall"),
    "whiteboard": Piece(work.whiteboard, "hung", at=(1.4, 1.6)),
    "workbench": Piece(work.workbench, "wall", near=(Near(("stool",), "front", 0.5),)),
    # on walls, under the ceiling, standing about
    "ball": Piece(fittings.ball, "free"),
    "ceiling_lamp": Piece(fittings.ceiling_lamp, "ceiling"),
    "coat_hooks": Piece(fittings.coat_hooks, "hung", at=(1.3, 1.4)),
    "coat_stand": Piece(fittings.coat_stand, "wall"),
    "curtain": Piece(fittings.curtain, "hung", at=(1.2, 1.3)),
    "easel": Piece(fittings.easel, "free"),
    "fireplace": Piece(fittings.fireplace, "wall", near=(_PICTURE,)),
    "floor_lamp": Piece(fittings.floor_lamp, "wall"),
    "laundry_basket": Piece(fittings.laundry_basket, "wall"),
    "piano": Piece(fittings.piano, "wall", near=(Near(("stool", "bench"), "front"), _PICTURE)),
    "picture": Piece(fittings.picture, "hung", at=(1.45, 1.75)),
    "potted_tree": Piece(fittings.potted_tree, "wall"),
    "radiator": Piece(fittings.radiator, "wall"),
    "rug": Piece(fittings.rug, "floor"),
    "suitcase": Piece(fittings.suitcase, "free"),
    "wall_clock": Piece(fittings.wall_clock, "hung", at=(1.8, 2.0)),
    "wall_shelf": Piece(fittings.wall_shelf, "hung", at=(1.35, 1.75)),
    "wall_television": Piece(fittings.wall_television, "hung", at=(1.3, 1.5)),
    "waste_bin": Piece(fittings.waste_bin, "wall"),
    # clutter
    "basket": Piece(small.basket, "top"),
    "book_row": Piece(small.book_row, "top_back"),
    "book_stack": Piece(small.book_stack, "top"),
    "bottle": Piece(small.bottle, "top"),
    "bowl": Piece(small.bowl, "top"),
    "carton": Piece(small.carton, "top"),
    "clock": Piece(small.clock, "top"),
    "cup": Piece(small.cup, "top"),
    "desk_lamp": Piece(small.desk_lamp, "top"),
    "frame": Piece(small.frame, "top"),
    "fruit": Piece(small.fruit, "top"),
    "kettle": Piece(small.kettle, "top"),
    "keyboard": Piece(small.keyboard, "top"),
    "laptop": Piece(small.laptop, "top"),
    "microwave": Piece(small.microwave, "top_back"),
    "monitor": Piece(small.monitor, "top_back"),
    "paper": Piece(small.paper, "top"),
    "plant_pot": Piece(small.plant_pot, "top"),
    "plate": Piece(small.plate, "top"),
    "pot": Piece(small.pot, "top"),
    "speaker": Piece(small.speaker, "top_back"),
    "television": Piece(small.television, "top_back"),
    "toaster": Piece(small.toaster, "top_back"),
    "toolbox": Piece(small.toolbox, "top"),
    "toy": Piece(small.toy, "top"),
    "vase": Piece(small.vase, "top"),
}

CLUTTER: dict[str, tuple[str, ...]] = {  # what may stand on each kind of surface; the first is often placed first
    "table": (
        "cup",
        "plate",
        "book_stack",
        "bowl",
        "bottle",
        "vase",
        "paper",
        "laptop",
        "plant_pot",
        "carton",
        "fruit",
        "toy",
    ),
    "desk": (
        "monitor",
        "laptop",
        "paper",
        "cup",
        "book_stack",
        "desk_lamp",
        "carton",
        "keyboard",
        "plant_pot",
        "frame",
    ),
    "bedside": ("desk_lamp", "book_stack", "cup", "clock", "bottle", "plant_pot", "frame"),
    "books": (
        "book_row",
        "book_row",
        "book_row",
        "carton",
        "vase",
        "plant_pot",
        "book_stack",
        "basket",
        "frame",
        "toy",
    ),
    "shelf": ("book_stack", "carton", "bottle", "plant_pot", "cup", "bowl", "basket", "clock", "frame"),
    "top": ("carton", "vase", "plant_pot", "book_stack", "bowl", "desk_lamp", "frame", "clock", "basket", "toy"),
    "media": ("television", "speaker", "plant_pot", "book_stack", "vase", "desk_lamp", "frame", "carton"),
    "worktop": ("kettle", "microwave", "toaster", "bottle", "plate", "cup", "pot", "fruit", "carton", "bowl"),
    "hob": ("pot", "kettle"),
    "bath": ("cup", "bottle"),
    "bench": ("toolbox", "carton", "bottle", "basket", "book_stack", "carton"),
}
