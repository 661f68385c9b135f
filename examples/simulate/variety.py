"""How varied simulated pictures are: histograms of depth, brightness and camera tilt, and near-duplicates.

    python examples/simulate/variety.py [COUNT] [LOOK] [HEIGHT]

Pictures are compared as 32x24 RGB thumbnails, by mean absolute difference. A picture is a near-duplicate if it is
closer to some other picture than the median picture is to itself moved by 5 % of its width (the camera turned by 3
degrees). HEIGHT 60 is enough; as a check, the statistics of the first 100 pictures are printed for 240 rows too.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image

from calibration.script import run_script
from edgekd.simulate.looks import LOOKS
from edgekd.simulate.rooms import RoomSettings, render, view

_BINS = {
    "depth (m)": np.array([0.0, 0.3, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 30]),
    "brightness (of 255)": np.array([0, 40, 60, 80, 100, 110, 120, 130, 140, 160, 180, 256]),
    "pitch (degrees)": np.array([-45, -30, -25, -20, -15, -10, -5, 0, 5, 10, 20]),
    "roll (degrees)": np.array([-10, -4, -2, -1, 0, 1, 2, 4, 10]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", nargs="?", type=int, default=2000)
    parser.add_argument("look", nargs="?", default="simulated", choices=LOOKS)
    parser.add_argument("height", nargs="?", type=int, default=60, help="rows of the pictures")
    asked = parser.parse_args()
    if asked.count < 2:
        parser.error("a picture alone has no duplicate: ask for 2 or more")
    report(asked.count, RoomSettings(height=asked.height, width=asked.height * 4 // 3, look=asked.look))


def report(count: int, small: RoomSettings) -> None:
    values, thumbnails, moved = measured(small, count)
    for name, edges in _BINS.items():
        print(f"\n{name}: {spread(values[name])}")
        shares = np.histogram(values[name], edges)[0] / len(values[name])
        for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
            print(f"  {low:6.1f} to {high:6.1f}  {share:6.1%}  {'#' * round(100 * share)}")
    report_duplicates(thumbnails, small.views_per_room, moved)
    few = min(100, count)
    full = measured(RoomSettings(look=small.look), few)[0]
    same = measured(small, few)[0]
    print(f"\nthe first {few} pictures at 240 rows and at {small.height}:")
    for name in _BINS:
        print(f"  {name}: {spread(full[name])} and {spread(same[name])}")


def measured(settings: RoomSettings, count: int) -> tuple[dict[str, np.ndarray], np.ndarray, float]:
    """Values by name (of depth, 300 pixels a picture), thumbnails [N, 24 * 32 * 3], and what a small move makes."""
    depths, bright, pitch, roll, thumbnails, moves = [], [], [], [], [], []
    step = settings.width // 20
    for index in range(count):
        image, (_, camera, _) = render(settings, 0, index), view(settings, 0, index)
        assert image.depth is not None
        depths.append(np.random.default_rng(index).choice(image.depth.ravel(), 300))
        bright.append(image.rgb.mean())
        pitch.append(np.degrees(camera.pitch))
        roll.append(np.degrees(camera.roll))
        thumbnails.append(thumbnail(image.rgb))
        moves.append(np.abs(thumbnail(image.rgb[:, step:]) - thumbnail(image.rgb[:, :-step])).mean())
    columns = (np.concatenate(depths), np.array(bright), np.array(pitch), np.array(roll))
    return dict(zip(_BINS, columns, strict=True)), np.stack(thumbnails), float(np.median(moves))


def thumbnail(rgb: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(rgb).resize((32, 24), Image.Resampling.BOX), np.float32).ravel()


def report_duplicates(thumbnails: np.ndarray, views: int, alike: float) -> None:
    """Print the share of pictures that have a near-duplicate, in their own room and in another."""
    rooms = np.arange(len(thumbnails)) // views
    nearest = np.full((2, len(thumbnails)), np.inf)  # in its own room, in another
    for index, own_thumbnail in enumerate(thumbnails):
        apart = np.abs(thumbnails - own_thumbnail).mean(axis=1)
        apart[index] = np.inf
        own = rooms == rooms[index]
        nearest[0, index] = apart[own].min()
        nearest[1, index] = apart[~own].min(initial=np.inf)  # with few pictures, all are of one room
    either = nearest.min(axis=0)
    print(f"\nnear-duplicates (under {alike:.1f} of 255): {(either < alike).mean():.2%} of {len(thumbnails)} pictures,")
    print(f"  {(nearest[0] < alike).mean():.2%} within a room, {(nearest[1] < alike).mean():.2%} across rooms")
    quantiles = np.quantile(either, [0, 0.01, 0.1, 0.5])
    print("  distance to the nearest picture: least {:.1f}, 1 % {:.1f}, 10 % {:.1f}, median {:.1f}".format(*quantiles))


def spread(values: np.ndarray) -> str:
    return "median {:.2f}, 5 to 95 % {:.2f} to {:.2f}".format(*np.quantile(values, [0.5, 0.05, 0.95]))


if __name__ == "__main__":
    run_script(main)
