"""Pictures that the scripts in this folder calibrate on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekd.distill.adapt import load_transform, transformed_images
from edgekd.distill.mixing import mix_batch, object_areas, plan_batch
from edgekd.distill.settings import MixingSettings
from edgekd.pictures import read_picture
from edgekd.simulate.rooms import RoomSettings, render
from targets.graph import DepthGraph
from targets.input import Framing

Images = NDArray[np.uint8]

SEED = 77
"""Of rooms that no run has seen."""


def rooms(framing: Framing, count: int, look: str = "simulated", seed: int = SEED) -> tuple[Images, NDArray[np.uint16]]:
    """Pictures and instance ids of simulated rooms, as the network wants them."""
    settings = RoomSettings(look=look)
    rendered = [render(settings, seed, index) for index in range(count)]
    return (
        np.stack([framing.image(image.rgb) for image in rendered]),
        np.stack([framing.nearest(image.ids) for image in rendered]),
    )


def simulated_kinds(graph: DepthGraph, run: Path, count: int) -> dict[str, Images]:
    """The same rooms as they are, mixed, and transformed by the run's transformation."""
    raw, ids = rooms(graph.input.framing, count)
    areas = [object_areas(identity) for identity in ids]
    pastes = plan_batch(areas, raw.shape[2], MixingSettings(), np.random.default_rng(SEED))
    kinds = {"raw simulated": raw, "mixed": mix_batch(raw, ids, pastes)}
    if (run / "transform.safetensors").is_file():
        net = load_transform(run / "transform.safetensors")
        kinds["transformed"] = transformed_images(net, raw, seed=SEED)
    return kinds


def framed(framing: Framing, paths: list[Path]) -> Images:
    """Picture files as the network wants them."""
    return np.stack([framing.image(read_picture(path)) for path in paths])
