"""One step of a distillation: the transformation's update, the teacher's depth, the student's update."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edgekd.distill.batches import Batch
from edgekd.distill.device import autocast
from edgekd.distill.features import FeatureMatch
from edgekd.distill.losses import distillation_loss
from edgekd.distill.ranks import Ranks
from edgekd.distill.settings import DistillSettings, TransformSettings
from edgekd.distill.shared_norm import share_norms, unshare_norms
from edgekd.distill.statistics import RunningMoments, StatisticsDistance, StoredStatistics, observe
from edgekd.distill.transform import TransformNet
from edgekd.models.teacher import Teacher
from targets.input import InputSpec

__all__ = ["Fitting", "Normalise", "StudentFit", "TransformFit", "student_rate", "to_pictures", "to_tensor"]

_AVERAGE_DECAY = 0.99
_ALONE = Ranks()


def to_tensor(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 [N, H, W, 3] to float32 [N, 3, H, W] in [0, 1], planes contiguous.

    Three channels last in memory would make every operation that broadcasts over pixels ten times slower on a CPU.
    """
    pixels = torch.from_numpy(np.array(images)).to(device, non_blocking=True)
    return pixels.permute(0, 3, 1, 2).contiguous().float() / 255


def to_pictures(tensor: Tensor) -> NDArray[np.uint8]:
    """Float [N, 3, H, W] in [0, 1] to uint8 [N, H, W, 3]."""
    return (tensor * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


class Normalise(nn.Module):
    """(x - mean) / std per channel, as the network's InputSpec says, channels last in memory for the network."""

    offset: Tensor
    scale: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        std = torch.tensor(spec.std).view(1, 3, 1, 1)
        self.register_buffer("scale", 1 / std)
        self.register_buffer("offset", -torch.tensor(spec.mean).view(1, 3, 1, 1) / std)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.offset, x, self.scale).contiguous(memory_format=torch.channels_last)


class TransformFit:
    """The transformation network, the observed teacher that judges it, and its optimiser."""

    def __init__(
        self,
        teacher: Teacher,
        stored: StoredStatistics,
        settings: DistillSettings,
        device: torch.device,
        ranks: Ranks = _ALONE,
    ) -> None:
        assert settings.transform is not None
        self.settings: TransformSettings = settings.transform
        self._seed = settings.seed
        self._device = device
        self._ranks = ranks
        self._normalise = Normalise(teacher.input).to(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.net = TransformNet().to(device)
        module = teacher.module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.observed = observe(module, stored.names)
        self._distance = StatisticsDistance(stored.to(device))
        self._running = RunningMoments(self.settings.momentum)
        self._optimiser = torch.optim.Adam(self.net.parameters(), lr=self.settings.learning_rate, betas=(0.9, 0.99))

    def step(self, simulated: Tensor, step: int, rate: float) -> tuple[Tensor, Tensor, dict[str, float]]:
        """Update the transformation; return the transformed pictures and the teacher's depth on them, both detached."""
        for group in self._optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * rate
        transformed, change = self.net(simulated, self.noise(simulated, step))
        with autocast(self._device):
            depth, seen = self.observed(self._normalise(transformed))
        distances = self._distance(self._running.update(self._ranks.moments(seen)))
        loss = distances.mean() + self.settings.keep_weight * change
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._ranks.average_gradients(self.net.parameters())
        self._optimiser.step()
        metrics = {"statistics": float(distances.detach().mean()), "change": float(change.detach())}
        return transformed.detach(), depth.detach().float(), metrics

    def noise(self, pictures: Tensor, step: int) -> Tensor:
        """The noise of one step, a function of the seed and the step alone; this process's part of that of the
        batch."""
        generator = torch.Generator(self._device).manual_seed(self._seed * 1_000_003 + step)
        shape = (len(pictures) * self._ranks.count, *pictures.shape[1:])
        return self._ranks.part(torch.randn(shape, generator=generator, device=self._device))

    def state_dict(self) -> dict[str, Any]:
        return {
            "net": self.net.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "running": self._running.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._running.load_state_dict(state["running"])


class StudentFit:
    """The student, its running average (which is what is kept), and its optimiser."""

    def __init__(
        self,
        student: nn.Module,
        spec: InputSpec,
        settings: DistillSettings,
        device: torch.device,
        features: FeatureMatch | None = None,
        ranks: Ranks = _ALONE,
    ) -> None:
        self.student = student.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.average = AveragedModel(
            self.student, multi_avg_fn=get_ema_multi_avg_fn(_AVERAGE_DECAY), use_buffers=True
        ).eval()
        self._settings = settings
        self._device = device
        self._ranks = ranks
        if ranks.count > 1:
            share_norms(self.student)
        self._normalise = Normalise(spec).to(device)
        self.features = None if features is None else features.to(device)
        if self.features is not None:
            self.features.watch_student(self.student)  # and not its average, which was copied before
        self._trained = trained = [
            *self.student.parameters(),
            *([] if self.features is None else self.features.parameters()),
        ]
        weights = [p for p in trained if p.ndim > 1]
        others = [p for p in trained if p.ndim <= 1]
        self._optimiser = torch.optim.AdamW(
            [{"params": weights, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=settings.learning_rate,
        )

    def step(self, pictures: Tensor, depth: Tensor, rate: float) -> dict[str, float]:
        """Update the student towards the teacher's `depth` on `pictures`."""
        for group in self._optimiser.param_groups:
            group["lr"] = self._settings.learning_rate * rate
        with autocast(self._device):
            predicted = self.student(self._normalise(pictures))
        loss = distillation_loss(predicted.float(), depth)
        metrics = {"loss": float(loss.detach())}
        if self.features is not None:
            assert self._settings.features is not None
            apart = self.features()
            loss = loss + self._settings.features.weight * apart
            metrics["features"] = float(apart.detach())
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._ranks.average_gradients(self._trained)
        nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
        self._optimiser.step()
        self.average.update_parameters(self.student)
        return metrics

    @torch.no_grad()
    def predict(self, pictures: Tensor) -> Tensor:
        """Depth by the running average, [N, 1, H, W]."""
        predicted: Tensor = self.average(self._normalise(pictures))
        return predicted.float()

    def finish(self) -> None:
        """Put the running average into the student itself, in eval mode."""
        unshare_norms(self.student)
        self.student.load_state_dict(self.average.module.state_dict())
        self.student.eval()
        if self.features is not None:
            self.features.release()

    def state_dict(self) -> dict[str, Any]:
        return {
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "features": {} if self.features is None else self.features.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.student.load_state_dict(state["student"])
        self.average.load_state_dict(state["average"])
        if self.features is not None:
            self.features.load_state_dict(state["features"])
        self._optimiser.load_state_dict(state["optimiser"])


class Fitting:
    """The parts that a step moves, whichever of them are switched on."""

    def __init__(
        self,
        teacher: Teacher,
        transform: TransformFit | None,
        student: StudentFit | None,
        settings: DistillSettings,
        device: torch.device,
        ranks: Ranks = _ALONE,
    ) -> None:
        self._ranks = ranks
        self.transform = transform
        self.student = student
        self.device = device
        self._settings = settings
        self._normalise = Normalise(teacher.input).to(device)
        self._teacher = teacher.module.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        if student is not None and student.features is not None:
            student.features.watch_teacher(self._teacher)
            if transform is not None:
                student.features.watch_teacher(transform.observed.module)
        warm = settings.transform.warm_up if settings.transform is not None and student is not None else 0
        self.warm_up = warm

    def step(self, batch: Batch) -> dict[str, float]:
        """Run one step and return what is to be logged."""
        pictures = self._ranks.part(to_tensor(batch.mixed, self.device))
        metrics: dict[str, float] = {}
        position = (batch.step - self.warm_up) / self._settings.steps
        if self.transform is not None and self._updates_transform(batch.step):
            rate = 1.0 - 0.9 * max(0.0, position)
            pictures, depth, metrics = self.transform.step(pictures, batch.step, rate)
        else:
            pictures = self.adapt(pictures, batch.step)
            depth = self.teach(pictures)
        if self.student is not None and batch.step >= self.warm_up:
            metrics |= self.student.step(pictures, depth, student_rate(position, self._settings.steps))
        return metrics

    def _updates_transform(self, step: int) -> bool:
        settings = self._settings.transform
        if settings is None or self.student is None or step < self.warm_up:
            return True
        return (step - self.warm_up) % settings.every == 0

    @torch.no_grad()
    def teach(self, pictures: Tensor) -> Tensor:
        """The teacher's depth in metres, [N, 1, H, W]."""
        with autocast(self.device):
            depth: Tensor = self._teacher(self._normalise(pictures))
        return depth.float()

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


def student_rate(position: float, steps: int) -> float:
    """Share of the full learning rate: a short linear rise, then a cosine to 1 %."""
    rise = min(0.1, 50 / steps)
    if position < rise:
        return (position * steps + 1) / (rise * steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (position - rise) / (1 - rise)))
