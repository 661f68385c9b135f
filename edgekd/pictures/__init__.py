"""Pictures for people and pictures from people: depth in colour, preview strips, reading and saving files."""

from __future__ import annotations

from edgekd.pictures.colour import colour_depth, depth_range, scale_bar
from edgekd.pictures.reading import list_pictures, read_picture, remark_on_folders
from edgekd.pictures.saving import save_depth, save_png
from edgekd.pictures.strips import preview_strip, strip

__all__ = [
    "colour_depth",
    "depth_range",
    "list_pictures",
    "preview_strip",
    "read_picture",
    "remark_on_folders",
    "save_depth",
    "save_png",
    "scale_bar",
    "strip",
]
