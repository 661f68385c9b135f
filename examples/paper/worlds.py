"""Where the method is measured: a teacher, simulated images, and held-out pictures of the teacher's own domain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.errors import UsageError
from edgekd.cli.console import Console
from edgekd.cores import allowed_cores
from edgekd.evaluate.datasets import open_dataset
from edgekd.evaluate.datasets.frame import frame_all
from edgekd.models.teacher import Teacher
from edgekd.models.teachers import load_teacher
from edgekd.pictures import list_pictures, read_picture
from edgekd.simulate.looks import LOOKS
from edgekd.simulate.rooms import RoomSettings
from edgekd.simulate.sample import ImageSource, SimulatedImage
from edgekd.simulate.store import SimulatedSet, write_set

__all__ = ["MOST", "World", "real_world", "stand_in_world"]

MOST = 6  # times as many simulated images as a student learns from are rendered, for the row that takes them all

# A third look, for pictures of another domain: neither what is distilled from nor what the teacher was trained on. It
# stands at the top of the module because the processes that render import it too.
LOOKS["showroom"] = replace(
    LOOKS["photographed"],
    walls=("stripes", "checks", "blooms"),
    floors=("marble", "carpet", "checks"),
    paint_hue=(0.55, 0.15),
    paint_saturation=(0.3, 0.7),
    warmth=(0.0, 0.1),
    lens=replace(LOOKS["photographed"].lens, cast=(-0.6, -0.2), exposure=(0.5, 0.65), contrast=(-0.4, 0.0)),
)


@dataclass(frozen=True)
class World:
    """A teacher and pictures by (count, seed). `count` is how many a student learns from."""

    name: str
    teacher: Teacher
    count: int
    simulated: Callable[[int, int], ImageSource]
    other: Callable[[int, int], ImageSource]
    same: Callable[[int, int], ImageSource]
    pictures: NDArray[np.uint8]  # held out, framed for the teacher [N, H, W, 3]
    truth: NDArray[np.float32]  # [N, H, W], 0 where unknown
    places: tuple[str, ...]  # where each was taken


@dataclass(frozen=True)
class _Pictures:
    """Pictures of a folder, repeated when there are fewer than `count`."""

    paths: tuple[Path, ...]
    count: int

    @property
    def digest(self) -> str:
        return f"{self.paths[0].parent.name}, {len(self.paths)} pictures"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> SimulatedImage:
        rgb = read_picture(self.paths[index % len(self.paths)])
        return SimulatedImage(rgb, np.zeros(rgb.shape[:2], np.uint16))


def stand_in_world(teacher: str, work: Path, count: int, held_out: int) -> World:
    """A teacher that was trained on rooms of the photographed look, and other rooms of that look to measure on."""
    loaded = load_teacher(teacher, progress=Console())
    data = open_dataset(str(_rendered(work, "photographed", 202, held_out).folder))
    pictures, truth = frame_all((data[index] for index in range(held_out)), loaded.input.framing)
    return World(
        name="stand-in",
        teacher=loaded,
        count=count,
        simulated=lambda number, seed: _first(number, _rendered(work, "simulated", seed, MOST * count)),
        other=lambda number, seed: _rendered(work, "showroom", 400 + seed, number),
        same=lambda number, seed: _rendered(work, "photographed", 300 + seed, number),
        pictures=pictures,
        truth=truth,
        places=("rooms",) * held_out,
    )


def real_world(teacher: str, work: Path, count: int, pairs: Path, unlabelled: Path | None) -> World:
    """A teacher that was trained on real pictures, measured on RGB-D pairs; `unlabelled` are pictures of the same
    place.

    Pictures of another domain are rooms of the photographed look.
    """
    loaded = load_teacher(teacher, progress=Console())
    data = open_dataset(str(pairs))
    frames = [data[index] for index in range(len(data))]
    pictures, truth = frame_all(frames, loaded.input.framing)
    return World(
        name="real",
        teacher=loaded,
        count=count,
        simulated=lambda number, seed: _first(number, _rendered(work, "simulated", seed, MOST * count)),
        other=lambda number, seed: _rendered(work, "photographed", 300 + seed, number),
        same=lambda number, seed: _unlabelled(unlabelled, number),
        pictures=pictures,
        truth=truth,
        places=tuple(frame.scene for frame in frames),
    )


def _unlabelled(folder: Path | None, count: int) -> ImageSource:
    if folder is None:
        raise UsageError("Pictures of the teacher's domain were asked for", fix="Give --unlabelled DIR")
    return _Pictures(tuple(list_pictures(folder)), count)


def _first(count: int, images: SimulatedSet) -> ImageSource:
    """The first of a set's pictures: those that a smaller set of the seed would hold."""
    return replace(images, entries=images.entries[:count], digest=f"{images.digest}, the first {count}")


def _rendered(work: Path, look: str, seed: int, count: int) -> SimulatedSet:
    return write_set(
        work / "sets" / f"{look}-{seed}-{count}",
        RoomSettings(look=look),
        seed=seed,
        count=count,
        workers=len(allowed_cores()),
        keep_depth=look == "photographed" and seed == 202,
        progress=Console(),
    )
