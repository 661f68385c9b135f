"""The ways of teaching a student that are compared: what it learns from, what is switched on, who labels the
pictures."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from worlds import MOST, World

from edgekd.distill.moments import Moments
from edgekd.distill.observing import observe
from edgekd.distill.settings import (
    DistillSettings,
    FeatureSettings,
    MixingSettings,
    ReconstructionSettings,
    TransformSettings,
)
from edgekd.distill.statistics import stored_statistics
from edgekd.distill.statistics_distance import StatisticsDistance
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.models.teacher import Teacher
from edgekd.simulate.sample import ImageSource, SimulatedImage

__all__ = ["CONTROLS", "Control", "settings_of"]

Images = Callable[[World, int], ImageSource]


@dataclass(frozen=True)
class Control:
    """One row of the table. `images` gives the pictures to learn from, by seed."""

    summary: str
    images: Images
    mixing: bool = False
    transform: TransformSettings | None = None
    features: bool = False
    reconstruction: bool = True  # of students that are cut out of their teacher, on the pictures of the row
    labels: Callable[[Teacher], Teacher] = lambda teacher: teacher

    def settings(self, common: DistillSettings) -> DistillSettings:
        return replace(
            common,
            mixing=MixingSettings() if self.mixing else None,
            transform=self.transform,
            features=FeatureSettings() if self.features else None,
            reconstruction=ReconstructionSettings() if self.reconstruction else None,
        )


@dataclass(frozen=True)
class _Chosen:
    """Some of the pictures of a source."""

    source: ImageSource
    numbers: tuple[int, ...]

    @property
    def digest(self) -> str:
        return f"{self.source.digest}, {len(self.numbers)} chosen"

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> SimulatedImage:
        return self.source[self.numbers[index]]


@dataclass(frozen=True)
class _Noise:
    count: int
    seed: int

    @property
    def digest(self) -> str:
        return f"noise {self.seed} {self.count}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> SimulatedImage:
        rng = np.random.default_rng([self.seed, index])
        return SimulatedImage(rng.integers(0, 256, (240, 320, 3), dtype=np.uint8), np.zeros((240, 320), np.uint16))


def _simulated(world: World, seed: int) -> ImageSource:
    return world.simulated(world.count, seed)


def _many(world: World, seed: int) -> ImageSource:
    return world.simulated(MOST * world.count, seed)


def _noise(world: World, seed: int) -> ImageSource:
    return _Noise(world.count, seed)


def _other(world: World, seed: int) -> ImageSource:
    return world.other(world.count, seed)


def _same(world: World, seed: int) -> ImageSource:
    return world.same(world.count, seed)


@torch.no_grad()
def _accepted(world: World, seed: int) -> ImageSource:
    """Of twice as many simulated images, those that fit the teacher's statistics best, each judged alone."""
    source, spec = world.simulated(2 * world.count, seed), world.teacher.input
    teacher = copy.deepcopy(world.teacher.module).cpu()  # wherever it is by now, so that the choice is always the same
    stored = stored_statistics(teacher)
    observed, normalise = observe(teacher, stored.names), Normalise(spec)
    distance = StatisticsDistance(stored)
    scores = []
    for number in range(len(source)):
        picture = to_tensor(spec.framing.image(source[number].rgb)[None], torch.device("cpu"))
        seen: Moments = observed(normalise(picture))[1]
        scores.append(float(distance(seen).mean()))
    best = np.sort(np.argsort(scores)[: world.count])
    return _Chosen(source, tuple(int(number) for number in best))


class _BatchStatistics(nn.Module):
    """A teacher whose BatchNorm layers normalise by the batch before them (Raikwar and Mishra, NeurIPS 2022)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(module)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.train()
                layer.momentum = 0.0
        depth: torch.Tensor = self.network(x)
        return depth


def _by_batch(teacher: Teacher) -> Teacher:
    return replace(teacher, module=_BatchStatistics(teacher.module).requires_grad_(False))


_EVERY = TransformSettings(share=1.0)  # every picture, as in the paper

CONTROLS: dict[str, Control] = {
    "noise": Control("random noise", _noise),
    "plain": Control("plain distillation on simulated images", _simulated),
    "plain-cut": Control("the same, the student as it was cut", _simulated, reconstruction=False),
    "plain-6x": Control("the same with six times as many images", _many),
    # A student cannot be solved for where its teacher's depth depends on the batch.
    "batch": Control(
        "teacher's BatchNorm by batch statistics, mixed",
        _simulated,
        mixing=True,
        reconstruction=False,
        labels=_by_batch,
    ),
    "accepted": Control("images accepted by the statistics, of twice as many", _accepted),
    "mixing": Control("mixing", _simulated, mixing=True),
    "transform": Control("transformation", _simulated, transform=_EVERY),
    "both": Control("mixing and transformation", _simulated, mixing=True, transform=_EVERY),
    "both-half": Control("mixing and transformation (of half)", _simulated, mixing=True, transform=TransformSettings()),
    "features": Control("features", _simulated, features=True),
    "unmixed": Control("transformation and features", _simulated, transform=TransformSettings(), features=True),
    "untransformed": Control("mixing and features", _simulated, mixing=True, features=True),
    "ours": Control(
        "mixing, transformation and features", _simulated, mixing=True, transform=TransformSettings(), features=True
    ),
    "every": Control(
        "the same, with every picture transformed", _simulated, mixing=True, transform=_EVERY, features=True
    ),
    "other": Control("unlabelled pictures of another domain", _other),
    "same": Control("unlabelled pictures of the teacher's domain", _same),
    "same-features": Control("the same, with features", _same, features=True),
}


def settings_of(row: str) -> dict[str, Any]:
    """Today's settings of a row, by the names that its runs record: those of earlier runs differ in them."""
    found: dict[str, Any] = {"transformed": TransformSettings().share}
    if CONTROLS[row].features:
        found["weight of features"] = FeatureSettings().weight
    return found
