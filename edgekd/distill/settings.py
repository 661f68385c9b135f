"""The settings of a distillation. Each part can be switched off on its own."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from calibration.errors import UsageError

__all__ = [
    "PRECISIONS",
    "DistillSettings",
    "FeatureSettings",
    "GrowthSettings",
    "MixingSettings",
    "QuantisationSettings",
    "ReconstructionSettings",
    "TransformSettings",
]


PRECISIONS = ("auto", "float32", "bfloat16")
_FASTEST = 1e30
"""The highest learning rate; from about 1e38 on, the optimiser's float32 cannot hold it."""


@dataclass(frozen=True)
class MixingSettings:
    """Objects of one simulated image pasted into another by their instance ids."""

    probability: float = 0.5  # share of images that are mixed
    max_objects: int = 3  # pasted objects per mixed image, 1 to this many
    min_area: float = 0.004  # share of the picture that an object must cover to be cut out
    max_area: float = 0.25

    def __post_init__(self) -> None:
        _require(0 < self.probability <= 1, f"a mixing probability of {self.probability}", "Use a value in (0, 1]")
        _require(self.max_objects >= 1, f"max_objects of {self.max_objects}", "Use at least 1")
        _require(0 <= self.min_area < self.max_area <= 1, "the mixing areas", "Use 0 <= min_area < max_area <= 1")


@dataclass(frozen=True)
class TransformSettings:
    """How the transformation network is fitted and applied."""

    share: float = 0.5  # of the pictures of a batch that are transformed; the student learns from the others too
    learning_rate: float = 2e-3
    warm_up: int = 60  # steps of the transformation alone before the student starts
    every: int = 2  # steps of the student per update after the warm-up: an update costs more than a student's step
    keep_weight: float = 1.0  # how strongly transformed pictures are held near the simulated ones
    layers: float = 0.25  # share of the teacher's layers, from the first, whose statistics are matched
    momentum: float = 0.5  # of the running estimate of the statistics, so that small batches suffice

    def __post_init__(self) -> None:
        _require(0 < self.share <= 1, f"{self.share} of the pictures transformed", "Use a fraction in (0, 1]")
        rate = self.learning_rate
        _require(0 < rate <= _FASTEST, f"a transform learning rate of {rate}", "Use a positive value, such as 2e-3")
        _require(self.warm_up >= 0, f"a warm-up of {self.warm_up} steps", "Use 0 or more")
        _require(self.every >= 1, f"an update every {self.every} steps", "Use at least 1")
        _require(0 <= self.keep_weight < math.inf, f"a keep weight of {self.keep_weight}", "Use 0 or more")
        _require(0 < self.layers <= 1, f"a share of {self.layers} of the layers", "Use a fraction in (0, 1]")
        _require(0 <= self.momentum < 1, f"a statistics momentum of {self.momentum}", "Use a value in [0, 1)")


@dataclass(frozen=True)
class FeatureSettings:
    """Holding the student's intermediate features to the teacher's."""

    weight: float = 10.0  # beside the loss on depth

    def __post_init__(self) -> None:
        weight = self.weight
        _require(0 < weight < math.inf, f"a feature weight of {weight}", "Use a positive value, or switch features off")


@dataclass(frozen=True)
class ReconstructionSettings:
    """Starting a student cut out of its teacher: the channels missed least are dropped, the weights solved for."""

    pictures: int = 96  # fewer where they are large
    ridge: float = 0.1  # how strongly each weight is drawn to the teacher's: share of the mean energy of what it reads

    def __post_init__(self) -> None:
        _require(self.pictures >= 2, f"{self.pictures} pictures to solve for weights on", "Use at least 2")
        _require(0 < self.ridge < math.inf, f"a ridge of {self.ridge}", "Use a positive value")


@dataclass(frozen=True)
class GrowthSettings:
    """Training while images are still being rendered: how many of them each step may draw from.

    This depends on the step alone, never on the speed of rendering: the same command gives the same student.
    """

    first: int = 512  # images rendered before the first step, including those set aside
    until: float = 0.5  # share of `steps`, from the start of the run, until all images are available; growth is linear

    def __post_init__(self) -> None:
        _require(self.first >= 1, f"{self.first} initial images", "Use at least 1")
        _require(0 < self.until <= 1, f"image growth until {self.until} of the steps", "Use a fraction in (0, 1]")


@dataclass(frozen=True)
class QuantisationSettings:
    """Finishing the training with int8 simulated, so that the ranges are learned."""

    steps: int = 200  # after those of the student
    learning_rate: float = 0.1  # share of the student's, falling to 1 % of it

    def __post_init__(self) -> None:
        _require(self.steps >= 1, f"{self.steps} steps in simulated int8", "Use at least 1")
        rate = self.learning_rate
        _require(0 < rate <= 1, f"a share of {rate} of the learning rate in simulated int8", "Use a fraction in (0, 1]")


@dataclass(frozen=True)
class DistillSettings:
    """One distillation. Without `mixing`, `transform` and `features` it is plain distillation on simulated images."""

    steps: int = 2000
    batch: int = 16
    accumulate: int = 1  # parts that a batch is processed in, to save memory; BatchNorm and statistics see one part
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    seed: int = 0
    precision: str = "auto"  # one of PRECISIONS; auto is bfloat16 on a GPU that has it, float32 elsewhere
    mixing: MixingSettings | None = field(default_factory=MixingSettings)
    transform: TransformSettings | None = field(default_factory=TransformSettings)
    features: FeatureSettings | None = field(default_factory=FeatureSettings)
    reconstruction: ReconstructionSettings | None = field(default_factory=ReconstructionSettings)  # of `slim-` students
    growth: GrowthSettings | None = None  # None: all images are there before the first step
    quantisation: QuantisationSettings | None = None
    set_aside: int = 128  # simulated images never trained on: they become the calibration set
    preview_every: int = 200

    def __post_init__(self) -> None:
        _require(self.steps >= 1, f"{self.steps} steps", "Use at least 1")
        _require(self.batch >= 2, f"a batch of {self.batch}", "Use at least 2: BatchNorm needs them")
        parts = f"a batch of {self.batch} in {self.accumulate} parts"
        _require(self.accumulate >= 1 and self.batch >= 2 * self.accumulate, parts, "Use parts of at least 2 images")
        rate = self.learning_rate
        _require(0 < rate <= _FASTEST, f"a learning rate of {rate}", "Use a positive value, such as 1e-3")
        _require(0 <= self.weight_decay < math.inf, f"a weight decay of {self.weight_decay}", "Use 0 or more")
        _require(0 <= self.seed < 1 << 32, f"a seed of {self.seed}", "Use 0 to 4294967295")
        _require(self.precision in PRECISIONS, f"precision {self.precision!r}", f"Choose {', '.join(PRECISIONS)}")
        _require(self.set_aside >= 8, f"setting {self.set_aside} images aside", "Set aside at least 8 for calibration")
        _require(self.preview_every >= 1, f"a preview every {self.preview_every} steps", "Use at least 1")

    @property
    def least_images(self) -> int:
        """The fewest simulated images that suffice: those set aside, and one batch."""
        return self.set_aside + self.batch

    @property
    def student_steps(self) -> int:
        """All steps that train the student."""
        return self.steps + (0 if self.quantisation is None else self.quantisation.steps)

    def to_json(self) -> dict[str, Any]:
        """As JSON. Newer options at the value implied before they existed are left out, so older runs can resume."""
        written = asdict(self)
        if self.precision == "auto":
            del written["precision"]
        if self.transform is not None and self.transform.share == 1:
            del written["transform"]["share"]
        return written


def _require(good: bool, what: str, fix: str) -> None:
    if not good:
        raise UsageError(f"Distillation cannot use {what}", fix=fix)
