"""A sheet of simulated pictures alone, half their size; with a folder of meshes they stand in the rooms.

python examples/simulate/pictures.py [COUNT] [COLUMNS] [FILE] [MESHES]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from calibration.progress import Quiet
from edgekd.simulate.meshes.folder import MeshFolder
from edgekd.simulate.rooms import RoomSettings, render

_WIDTH, _HEIGHT = 160, 120


def main(count: str = "64", columns: str = "8", file: str = "pictures.jpg", meshes: str = "") -> None:
    settings = RoomSettings(meshes=MeshFolder.open(Path(meshes), Quiet()) if meshes else None)
    chosen = np.random.default_rng(1).choice(8000, int(count), replace=False)
    rows = -(-int(count) // int(columns))
    sheet = Image.new("RGB", (int(columns) * (_WIDTH + 4) + 4, rows * (_HEIGHT + 4) + 4), (24, 24, 24))
    for place, index in enumerate(sorted(chosen.tolist())):
        picture = Image.fromarray(render(settings, 0, index).rgb).resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)
        row, column = divmod(place, int(columns))
        sheet.paste(picture, (column * (_WIDTH + 4) + 4, row * (_HEIGHT + 4) + 4))
    sheet.save(file, quality=85)
    print(f"{file}: {Path(file).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(*sys.argv[1:5])
