"""Simulated pictures by number: the same settings, seed and index always give the same bytes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from calibration.errors import DataError, UnknownNameError
from calibration.files import sha256_bytes
from edgekd.simulate.antialias import smooth_edges
from edgekd.simulate.camera import Camera, choose_camera
from edgekd.simulate.layout import build_room
from edgekd.simulate.lens import develop
from edgekd.simulate.looks import LOOKS
from edgekd.simulate.meshes.folder import MeshFolder
from edgekd.simulate.rays import cast
from edgekd.simulate.sample import SimulatedImage
from edgekd.simulate.scene import Scene
from edgekd.simulate.shade import shade

__all__ = ["RENDERER", "RoomSettings", "RoomSource", "render", "view"]

RENDERER = 2  # raised whenever a seed gives different pictures than before


@dataclass(frozen=True)
class RoomSettings:
    """What is rendered. Raises DataError or UnknownNameError for invalid values."""

    height: int = 240
    width: int = 320
    look: str = "simulated"
    views_per_room: int = 4
    meshes: MeshFolder | None = None  # the user's own furniture, placed among the built-in

    def __post_init__(self) -> None:
        if self.look not in LOOKS:
            raise UnknownNameError("look", self.look, LOOKS)
        for name, least, most in (("height", 16, 2048), ("width", 16, 2048), ("views_per_room", 1, 1000)):
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise DataError(f"Cannot render rooms with {name} {value!r}", fix=f"Use {least} to {most}")

    def to_json(self) -> dict[str, Any]:
        """What determines the pictures. Without meshes it is the same as before meshes were supported."""
        chosen = asdict(replace(self, meshes=None))
        del chosen["meshes"]
        return chosen if self.meshes is None else {**chosen, "meshes": self.meshes.digest}


def render(settings: RoomSettings, seed: int, index: int) -> SimulatedImage:
    """Picture `index` of the endless sequence that `seed` defines, with ids and depth.

    Pictures with the same index // views_per_room show the same room, which is built once for them.
    Raises DataError for a negative seed or index, MissingRuntimeError without embreex.
    """
    look = LOOKS[settings.look]
    scene, camera, rng = view(settings, seed, index)
    hits = cast(scene, camera)
    radiance = shade(scene, camera, hits, ambient=float(rng.uniform(*look.ambient)))
    radiance = smooth_edges(scene, camera, hits, radiance)
    shape = settings.height, settings.width
    return SimulatedImage(
        rgb=develop(radiance, look.lens, rng),
        ids=scene.objects[hits.triangle].reshape(shape),
        depth=hits.depth.reshape(shape),
    )


def view(settings: RoomSettings, seed: int, index: int) -> tuple[Scene, Camera, np.random.Generator]:
    """The scene and the camera of picture `index`, and the generator that its light and lens are drawn from."""
    if seed < 0 or index < 0:
        raise DataError(f"Picture {index} of seed {seed} does not exist", fix="Use a seed and an index of 0 or more")
    room, number = divmod(index, settings.views_per_room)
    scene = _scene(settings.look, seed, room, settings.meshes)
    rng = _generator(seed, room, number + 1)
    distortion = float(rng.uniform(*LOOKS[settings.look].lens.distortion))
    return scene, choose_camera(scene, rng, settings.height, settings.width, distortion), rng


@dataclass(frozen=True)
class RoomSource:
    """An ImageSource that renders each picture on request and keeps none."""

    settings: RoomSettings
    seed: int
    count: int

    @property
    def digest(self) -> str:
        request = [RENDERER, self.settings.to_json(), self.seed, self.count]
        return sha256_bytes(json.dumps(request, sort_keys=True).encode())

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> SimulatedImage:
        if not -self.count <= index < self.count:
            raise IndexError(f"Picture {index} of {self.count}")
        return render(self.settings, self.seed, index % self.count)


@lru_cache(maxsize=1)
def _scene(look: str, seed: int, room: int, meshes: MeshFolder | None) -> Scene:
    return build_room(LOOKS[look], _generator(seed, room, 0), meshes)


def _generator(seed: int, room: int, stream: int) -> np.random.Generator:
    """A generator of its own for each room (stream 0) and each view of it (1 and up)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, room, stream))))
