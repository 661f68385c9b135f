"""Writes a contact sheet of simulated rooms: picture, depth and ids of each, the two looks side by side.

python examples/simulate/contact_sheet.py [ROOMS] [FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from calibration.script import run_script
from edgekd.simulate.preview import contact_sheet
from edgekd.simulate.rooms import RoomSettings, RoomSource

LOOKS = ("simulated", "photographed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="?", type=int, default=3, help="of each look")
    parser.add_argument("file", nargs="?", type=Path, default=Path("rooms.jpg"))
    asked = parser.parse_args()
    sources = [RoomSource(RoomSettings(look=look, views_per_room=1), seed=8, count=asked.rooms) for look in LOOKS]
    sheet = contact_sheet([source[index] for index in range(asked.rooms) for source in sources], columns=len(sources))
    Image.fromarray(sheet).save(asked.file, quality=80)
    print(asked.file)


if __name__ == "__main__":
    run_script(main)
