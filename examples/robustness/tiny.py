"""The verbs that the campaigns interrupt and repeat, at sizes that take seconds.

They work in the current folder (rooms/, runs/tiny/).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from calibration.errors import EdgekdError
from calibration.progress import Quiet
from edgekd.cli.app import _known, _unexpected, run
from edgekd.cli.console import console
from edgekd.distill import loop
from edgekd.distill.settings import DistillSettings, TransformSettings
from edgekd.models.teacher import Teacher
from edgekd.run import locked
from edgekd.simulate.rooms import RoomSettings
from edgekd.simulate.store import write_set
from edgekd.steps.distill import DistillRequest, distill_run
from edgekd.steps.images import ImagesSpec
from targets.input import Framing, InputSpec

ROOMS, RUN = Path("rooms"), Path("runs/tiny")
HEIGHT, WIDTH = 64, 96
_SETTINGS = DistillSettings(steps=12, batch=2, set_aside=16, preview_every=4, transform=TransformSettings(warm_up=4))
_TARGETS = ("--target", "onnxruntime", "--target", "openvino")

VERBS = ("simulate", "distill", "export", "export-again", "bench", "report")
"""In the order in which each needs what the one before has made; export-again builds over finished artefacts."""


class Net(nn.Module):
    """A depth network with one BatchNorm layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        depth: Tensor = self.body(x).clamp(-2, 2).exp()
        return nn.functional.interpolate(depth, scale_factor=2.0)


def teacher(height: int = HEIGHT, width: int = WIDTH) -> Teacher:
    """A teacher whose BatchNorm layer stored the statistics of reddish noise."""
    torch.manual_seed(3)
    net = Net().train()
    with torch.no_grad():
        for _ in range(30):
            net(torch.rand(4, 3, height, width) * torch.tensor([0.9, 0.6, 0.4]).view(1, 3, 1, 1))
    return Teacher("tiny", net.eval(), InputSpec(Framing(height, width)), digest="tiny", source="made for a campaign")


def simulate(workers: int = 2, count: int = 64) -> int:
    settings = RoomSettings(height=HEIGHT, width=WIDTH, views_per_room=16)
    with locked(ROOMS):
        write_set(ROOMS, settings, seed=0, count=count, workers=workers, keep_depth=False, progress=Quiet())
    return 0


def distil(steps: int = _SETTINGS.steps, save_every: float = 0.02) -> int:
    loop._SAVE_EVERY_SECONDS = save_every  # so that a kill within seconds finds a checkpoint to resume from
    settings = replace(_SETTINGS, steps=steps)
    images = ImagesSpec(folder=ROOMS)
    request = DistillRequest("tiny:teacher", None, "mobile-s", images, settings, device="cpu", out=RUN)
    distill_run(request, Quiet())
    return 0


def do(verb: str) -> int:
    """Do a verb in the current folder; returns its exit code."""
    torch.set_num_threads(1)
    if verb in ("simulate", "distill"):
        console.start()
        try:
            return simulate() if verb == "simulate" else distil()
        except EdgekdError as error:
            return _known(error)
        except Exception as error:
            return _unexpected(error)
    if verb.startswith("export"):
        return run(["export", "tiny", *_TARGETS, *(["--force"] if verb == "export-again" else [])])
    if verb == "bench":
        return run(["bench", "tiny", "--target", "onnxruntime", "--seconds", "0"])
    return run([verb, "tiny"])
