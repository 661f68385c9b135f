"""Writes a sheet of simulated pictures at half size; meshes from a folder are placed in the rooms if one is given.

python examples/simulate/pictures.py [COUNT] [COLUMNS] [FILE] [MESHES]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from calibration.progress import Quiet
from calibration.script import run_script
from edgekd.simulate.meshes.folder import MeshFolder
from edgekd.simulate.rooms import RoomSettings, render

_WIDTH, _HEIGHT = 160, 120
_ROOMS = 8000  # of which the pictures are drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", nargs="?", type=int, default=64)
    parser.add_argument("columns", nargs="?", type=int, default=8)
    parser.add_argument("file", nargs="?", type=Path, default=Path("pictures.jpg"))
    parser.add_argument("meshes", nargs="?", type=Path, help="a folder of meshes to place in the rooms")
    asked = parser.parse_args()
    if not (1 <= asked.count <= _ROOMS and asked.columns >= 1):
        parser.error(f"ask for 1 to {_ROOMS} pictures, in 1 column or more")
    settings = RoomSettings(meshes=MeshFolder.open(asked.meshes, Quiet()) if asked.meshes else None)
    chosen = np.random.default_rng(1).choice(_ROOMS, asked.count, replace=False)
    rows = -(-asked.count // asked.columns)
    sheet = Image.new("RGB", (asked.columns * (_WIDTH + 4) + 4, rows * (_HEIGHT + 4) + 4), (24, 24, 24))
    for place, index in enumerate(sorted(chosen.tolist())):
        picture = Image.fromarray(render(settings, 0, index).rgb).resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)
        row, column = divmod(place, asked.columns)
        sheet.paste(picture, (column * (_WIDTH + 4) + 4, row * (_HEIGHT + 4) + 4))
    sheet.save(asked.file, quality=85)
    print(f"{asked.file}: {asked.file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    run_script(main)
