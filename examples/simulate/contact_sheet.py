"""Writes a contact sheet of simulated rooms: picture, depth and ids of each.

python examples/simulate/contact_sheet.py [LOOK] [COUNT] [FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from calibration.script import run_script
from edgekd.simulate.looks import LOOKS
from edgekd.simulate.preview import contact_sheet
from edgekd.simulate.rooms import RoomSettings, RoomSource


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("look", nargs="?", default="simulated", choices=LOOKS)
    parser.add_argument("count", nargs="?", type=int, default=12)
    parser.add_argument("file", nargs="?", type=Path, default=Path("rooms.jpg"))
    asked = parser.parse_args()
    rooms = RoomSource(RoomSettings(look=asked.look, views_per_room=1), seed=8, count=asked.count)
    sheet = contact_sheet([rooms[index] for index in range(len(rooms))], columns=2)
    Image.fromarray(sheet).save(asked.file, quality=85)
    print(asked.file)


if __name__ == "__main__":
    run_script(main)
