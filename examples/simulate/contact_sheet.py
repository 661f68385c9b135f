"""Look at simulated rooms: picture, depth and ids of each, on one sheet.

python examples/simulate/contact_sheet.py [LOOK] [COUNT] [FILE]
"""

from __future__ import annotations

import sys

from PIL import Image

from edgekd.simulate.preview import contact_sheet
from edgekd.simulate.rooms import RoomSettings, RoomSource


def main(look: str = "simulated", count: str = "12", file: str = "rooms.jpg") -> None:
    rooms = RoomSource(RoomSettings(look=look, views_per_room=1), seed=8, count=int(count))
    Image.fromarray(contact_sheet([rooms[index] for index in range(len(rooms))], columns=2)).save(file, quality=85)
    print(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
