"""One step of a distillation: the transformation's update, the teacher's depth, the student's update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from edgekd.distill.batches import Batch
from edgekd.distill.device import autocast
from edgekd.distill.ranks import ALONE, Ranks
from edgekd.distill.rates import over_steps
from edgekd.distill.reconstruction import reconstruct
from edgekd.distill.settings import DistillSettings
from edgekd.distill.start import in_parts
from edgekd.distill.student_fit import StudentFit
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.distill.transform_fit import TransformFit
from edgekd.models.slim import Slim
from edgekd.models.teacher import Teacher

__all__ = ["Fitting"]


class Fitting:
    """The parts that a step trains, as far as they are switched on."""

    def __init__(
        self,
        teacher: Teacher,
        transform: TransformFit | None,
        student: StudentFit | None,
        settings: DistillSettings,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        self.ranks = ranks
        self.teacher = teacher.name
        self.transform = transform
        self.student = student
        self.device = device
        self.settings = settings
        self._normalise = Normalise(teacher.input).to(device)
        self._teacher = teacher.module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._teacher.eval()
        if student is not None and student.features is not None:
            student.features.watch_teacher(self._teacher)
            if transform is not None:
                student.features.watch_teacher(transform.observed.module)
        warm = settings.transform.warm_up if settings.transform is not None and student is not None else 0
        self.warm_up = warm
        self._divisions: dict[int, tuple[Tensor, Tensor]] = {}  # by size of a part: those transformed, and the rest

    @property
    def total(self) -> int:
        """The number of steps, including those of the warm-up."""
        return self.warm_up + (self.settings.steps if self.student is None else self.settings.student_steps)

    def step(self, batch: Batch) -> dict[str, float]:
        """Run one step and return what is to be logged, of the whole batch."""
        # Random draws in a network, such as dropout, depend on the seed and step alone: a resumed run draws the same.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(self.settings.seed * 1_000_003 + batch.step)
            return self._step(batch)

    def _step(self, batch: Batch) -> dict[str, float]:
        pictures = self.ranks.part(to_tensor(batch.mixed, self.device))
        noise = None if self.transform is None else self.transform.noise(pictures, batch.step)
        fits_transform = self._updates_transform(batch.step)
        trains = self.student is not None and batch.step >= self.warm_up
        sums: dict[str, float] = {}
        share = 1 / self.settings.accumulate
        count = self.settings.accumulate
        noises = [None] * count if noise is None else noise.chunk(count)
        position = (batch.step - self.warm_up) / self.settings.steps
        for part, part_noise in zip(pictures.chunk(count), noises, strict=True):
            metrics = self._accumulate(part, part_noise, share, fits_transform, trains, int8=position >= 1)
            for name, value in metrics.items():
                sums[name] = sums.get(name, 0.0) + share * value
        if self.transform is not None and fits_transform:
            self.transform.update(1.0 - 0.9 * min(max(0.0, position), 1.0))
        if self.student is not None and trains:
            self.student.update(over_steps(position, self.settings))
        return self.ranks.means(sums)

    def _accumulate(
        self, pictures: Tensor, noise: Tensor | None, share: float, fits_transform: bool, trains: bool, *, int8: bool
    ) -> dict[str, float]:
        """Add the gradient of one part of the batch: for the transformation, the student, or both."""
        if self.student is not None and self.student.features is not None:
            self.student.features.forget()
        metrics: dict[str, float] = {}
        if self.transform is None or noise is None:
            depth = self.teach(pictures)
        else:
            mine, noise, rest = self._divided(pictures, noise, trains)
            if fits_transform:
                transformed, depth, metrics = self.transform.accumulate(mine, noise, share)
            else:
                with torch.no_grad():
                    transformed = self.transform.net(mine, noise)[0]
            pictures = _joined(transformed, rest)
            if not fits_transform:
                depth = self.teach(pictures)
            elif rest is not None:
                depth = torch.cat([depth, self.teach(rest)])
        if self.student is not None and trains:
            metrics |= self.student.accumulate(pictures, depth, share, int8=int8)
        return metrics

    def _divided(self, pictures: Tensor, noise: Tensor, trains: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """Pictures to transform, with their noise, and those left as they are; none are left while no student trains.

        The former are spread evenly, and their number is rounded up in each part of a batch: several processes agree
        with one only where nothing is rounded.
        """
        assert self.settings.transform is not None
        count, share = len(pictures), self.settings.transform.share
        if share == 1 or not trains:
            return pictures, noise, None
        if count not in self._divisions:
            reached = [math.ceil(share * index) for index in range(count + 1)]
            chosen = [index for index in range(count) if reached[index + 1] > reached[index]]
            self._divisions[count] = self._indices(chosen), self._indices(sorted(set(range(count)) - set(chosen)))
        mine, others = self._divisions[count]
        return pictures[mine], noise[mine], pictures[others] if len(others) else None

    def _indices(self, which: list[int]) -> Tensor:
        return torch.tensor(which, dtype=torch.long, device=self.device)

    def _updates_transform(self, step: int) -> bool:
        settings = self.settings.transform
        if settings is None:
            return False
        if self.student is None or step < self.warm_up:
            return True
        return (step - self.warm_up) % settings.every == 0

    @property
    def starts_by_solving(self) -> bool:
        """Whether `start` must be called before the first step of the student."""
        return self.student is not None and self.student.solved

    def start(self, batches: Sequence[Batch]) -> None:
        """Solve for the first weights of a student that is cut out of its teacher.

        It uses the pictures of these batches as the student will be trained on them.
        """
        assert self.student is not None and self.settings.reconstruction is not None
        student, features = self.student.student, self.student.features
        assert isinstance(student, Slim)
        if self.ranks.first:
            whole = (self._normalise(self._as_learnt_from(batch)) for batch in batches)
            pictures = in_parts(whole, self.settings.accumulate)
            # Features watch every run of the teacher, and would keep those of all pictures.
            forget = (lambda: None) if features is None else features.forget
            reconstruct(student, self._teacher, pictures, self.settings.reconstruction.ridge, after_each=forget)
        self.ranks.share(student.state_dict().values())

    @torch.no_grad()
    def _as_learnt_from(self, batch: Batch) -> Tensor:
        """The pictures of a batch as in training, a share of them transformed, in any order."""
        pictures = to_tensor(batch.mixed, self.device)
        if self.transform is None:
            return pictures
        mine, noise, rest = self._divided(pictures, self.transform.noise(pictures, batch.step), trains=True)
        transformed: Tensor = self.transform.net(mine, noise)[0]
        return _joined(transformed, rest)

    @torch.no_grad()
    def teach(self, pictures: Tensor) -> Tensor:
        """The teacher's depth in metres, [N, 1, H, W]."""
        with autocast(self.device, self.settings.precision):
            depth: Tensor = self._teacher(self._normalise(pictures))
        return depth.float()

    def teacher_is_finite(self, batch: Batch) -> bool:
        """Whether the teacher gives finite depth for the pictures of a batch, mixed and transformed."""
        mixed = to_tensor(batch.mixed, self.device)
        shown = [pictures for pictures in (mixed, self.adapt(mixed, batch.step)) if torch.isfinite(pictures).all()]
        return all(bool(torch.isfinite(self.teach(pictures)).all()) for pictures in shown)

    @torch.no_grad()
    def adapt(self, pictures: Tensor, seed: int) -> Tensor:
        """The transformed pictures, or the same ones without a transformation."""
        if self.transform is None:
            return pictures
        transformed: Tensor = self.transform.net(pictures, self.transform.noise(pictures, seed))[0]
        return transformed

    def finish(self) -> None:
        if self.student is not None:
            self.student.finish()

    def state_dict(self) -> dict[str, Any]:
        parts = {"transform": self.transform, "student": self.student}
        return {name: part.state_dict() for name, part in parts.items() if part is not None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.transform is not None:
            self.transform.load_state_dict(state["transform"])
        if self.student is not None:
            self.student.load_state_dict(state["student"])


def _joined(transformed: Tensor, rest: Tensor | None) -> Tensor:
    """The transformed pictures and those that are not, in this order."""
    return transformed if rest is None else torch.cat([transformed, rest])
