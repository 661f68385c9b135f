"""The kinds of rooms: how large they are and what stands in them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "RoomKind"]

Range = tuple[float, float]
Count = tuple[int, int]


@dataclass(frozen=True)
class RoomKind:
    """Sizes in metres; `pieces` gives how many of each piece of furniture, placed in this order if there is space."""

    share: float  # how often, relative to the others
    width: Range
    depth: Range
    pieces: tuple[tuple[str, Count], ...]
    height: Range = (2.4, 2.9)
    windows: Count = (0, 3)
    curtains: float = 0.4  # chance, for each window
    walls: tuple[str, ...] = ()  # patterns; () takes those of the look
    floors: tuple[str, ...] = ()


KINDS: dict[str, RoomKind] = {
    "living_room": RoomKind(
        4.0,
        (3.4, 5.8),
        (3.4, 6.2),
        (
            ("rug", (0, 1)),
            ("sofa", (1, 2)),
            ("fireplace", (0, 1)),
            ("piano", (0, 1)),
            ("sideboard", (0, 1)),
            ("dining_table", (0, 1)),
            ("bookcase", (0, 2)),
            ("cube_shelf", (0, 1)),
            ("display_cabinet", (0, 1)),
            ("armchair", (0, 2)),
            ("wing_chair", (0, 2)),
            ("chest_of_drawers", (0, 1)),
            ("trunk", (0, 1)),
            ("floor_lamp", (0, 2)),
            ("potted_tree", (0, 2)),
            ("radiator", (0, 1)),
            ("pouf", (0, 1)),
            ("side_table", (0, 1)),
            ("ball", (0, 1)),
            ("picture", (1, 4)),
            ("wall_shelf", (0, 2)),
            ("wall_clock", (0, 1)),
        ),
    ),
    "bedroom": RoomKind(
        3.0,
        (2.8, 4.5),
        (3.0, 5.0),
        (
            ("rug", (0, 1)),
            ("bed", (1, 1)),
            ("bunk_bed", (0, 1)),
            ("wardrobe", (1, 2)),
            ("cot", (0, 1)),
            ("chest_of_drawers", (0, 1)),
            ("desk", (0, 1)),
            ("trunk", (0, 1)),
            ("chair", (0, 1)),
            ("bookcase", (0, 1)),
            ("cube_shelf", (0, 1)),
            ("floor_lamp", (0, 1)),
            ("laundry_basket", (0, 1)),
            ("radiator", (0, 1)),
            ("suitcase", (0, 1)),
            ("ball", (0, 1)),
            ("mirror", (0, 1)),
            ("picture", (0, 3)),
            ("wall_shelf", (0, 2)),
        ),
    ),
    "office": RoomKind(
        3.0,
        (3.0, 6.0),
        (3.0, 6.0),
        (
            ("desk", (1, 4)),
            ("bookcase", (0, 3)),
            ("filing_cabinet", (0, 3)),
            ("round_table", (0, 1)),
            ("folding_table", (0, 1)),
            ("printer", (0, 1)),
            ("whiteboard", (0, 1)),
            ("sideboard", (0, 1)),
            ("coat_stand", (0, 1)),
            ("potted_tree", (0, 2)),
            ("waste_bin", (0, 2)),
            ("chair", (0, 2)),
            ("radiator", (0, 1)),
            ("picture", (0, 3)),
            ("wall_shelf", (0, 2)),
            ("wall_clock", (0, 1)),
        ),
    ),
    "kitchen": RoomKind(
        3.0,
        (2.6, 4.6),
        (2.8, 5.2),
        (
            ("kitchen_run", (1, 2)),
            ("cooker", (0, 1)),
            ("fridge", (1, 1)),
            ("washing_machine", (0, 1)),
            ("kitchen_island", (0, 1)),
            ("dining_table", (0, 1)),
            ("round_table", (0, 1)),
            ("cube_shelf", (0, 1)),
            ("bench", (0, 1)),
            ("waste_bin", (0, 1)),
            ("radiator", (0, 1)),
            ("wall_shelf", (0, 2)),
            ("picture", (0, 2)),
            ("wall_clock", (0, 1)),
        ),
        floors=("tiles", "planks", "bond_tiles"),
    ),
    "dining_room": RoomKind(
        2.0,
        (3.2, 5.0),
        (3.2, 5.2),
        (
            ("rug", (0, 1)),
            ("dining_table", (1, 1)),
            ("display_cabinet", (0, 2)),
            ("sideboard", (0, 1)),
            ("fireplace", (0, 1)),
            ("console_table", (0, 1)),
            ("armchair", (0, 1)),
            ("bookcase", (0, 1)),
            ("potted_tree", (0, 2)),
            ("floor_lamp", (0, 1)),
            ("radiator", (0, 1)),
            ("picture", (1, 4)),
        ),
    ),
    "bathroom": RoomKind(
        1.0,
        (2.2, 3.4),
        (2.4, 3.8),
        (
            ("bathtub", (0, 1)),
            ("washbasin", (1, 2)),
            ("toilet", (1, 1)),
            ("shower", (0, 1)),
            ("washing_machine", (0, 1)),
            ("cube_shelf", (0, 1)),
            ("laundry_basket", (0, 1)),
            ("waste_bin", (0, 1)),
            ("towel_rail", (0, 2)),
        ),
        windows=(0, 1),
        walls=("small_tiles", "bond_tiles", "plain"),
        floors=("tiles", "small_tiles", "marble"),
    ),
    "corridor": RoomKind(
        1.0,
        (1.6, 2.4),
        (4.5, 9.0),
        (
            ("shoe_rack", (0, 1)),
            ("console_table", (0, 1)),
            ("coat_stand", (0, 1)),
            ("bench", (0, 1)),
            ("chest_of_drawers", (0, 1)),
            ("bookcase", (0, 1)),
            ("locker", (0, 1)),
            ("radiator", (0, 2)),
            ("suitcase", (0, 1)),
            ("coat_hooks", (0, 1)),
            ("mirror", (0, 1)),
            ("picture", (1, 5)),
        ),
        windows=(0, 1),
    ),
    "studio": RoomKind(
        1.0,
        (3.5, 5.5),
        (3.5, 6.0),
        (
            ("workbench", (1, 2)),
            ("easel", (0, 2)),
            ("folding_table", (0, 1)),
            ("metal_shelf", (0, 2)),
            ("stool", (0, 2)),
            ("server_rack", (0, 1)),
            ("locker", (0, 1)),
            ("ladder", (0, 1)),
            ("box_stack", (0, 3)),
            ("waste_bin", (0, 1)),
            ("whiteboard", (0, 1)),
            ("picture", (0, 3)),
        ),
        curtains=0.1,
    ),
    "warehouse": RoomKind(
        1.0,
        (4.5, 7.0),
        (7.0, 11.0),
        (
            ("pallet_rack", (3, 7)),
            ("metal_shelf", (0, 2)),
            ("workbench", (0, 1)),
            ("pallet", (1, 3)),
            ("barrel", (0, 3)),
            ("ladder", (0, 1)),
            ("box_stack", (1, 4)),
        ),
        height=(3.5, 5.0),
        windows=(0, 1),
        curtains=0.0,
        walls=("plain", "bricks", "plaster"),
        floors=("plaster", "tiles"),
    ),
}
