"""The transformation network while it is fitted: the observed teacher that judges it, and its optimiser."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from calibration.errors import ModelError
from edgekd.distill.device import autocast
from edgekd.distill.moments import RunningMoments
from edgekd.distill.observing import observe
from edgekd.distill.ranks import ALONE, Ranks
from edgekd.distill.settings import DistillSettings, TransformSettings
from edgekd.distill.statistics import StoredStatistics
from edgekd.distill.statistics_distance import StatisticsDistance
from edgekd.distill.tensors import Normalise
from edgekd.distill.transform import TransformNet
from edgekd.models.batch_norm import varies
from edgekd.models.running_order import layer_runs
from edgekd.models.teacher import Teacher

__all__ = ["TransformFit"]


class TransformFit:
    """The transformation network, the observed teacher that judges it, and its optimiser."""

    def __init__(
        self,
        teacher: Teacher,
        stored: StoredStatistics,
        settings: DistillSettings,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        assert settings.transform is not None
        self.settings: TransformSettings = settings.transform
        self._name = teacher.name
        self._seed = settings.seed
        self._precision = settings.precision
        self._device = device
        self._ranks = ranks
        self._normalise = Normalise(teacher.input).to(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.net = TransformNet().to(device)
        module = teacher.module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        runs = layer_runs(module, stored.names, teacher.input)
        if not runs:
            raise ModelError(
                f"No layer of {teacher.name} with statistics runs on a picture", fix="Pass --no-transformation"
            )
        stored = stored.in_order(list(dict.fromkeys(runs))).first(self.settings.layers)
        if not varies(stored.moments.variance):
            raise ModelError(
                f"The layers of {teacher.name} that pictures are fitted to ({stored.names[0]} and on) hold no variance",
                fix="Load trained weights, or pass --no-transformation",
            )
        self.observed = observe(module, stored.names, runs=sum(name in stored.names for name in runs))
        self._distance = StatisticsDistance(stored.to(device))
        # Updated once per part: the root keeps as much of the last batch, however many parts a batch has.
        self._running = RunningMoments(self.settings.momentum ** (1 / settings.accumulate))
        self._optimiser = torch.optim.Adam(self.net.parameters(), lr=self.settings.learning_rate, betas=(0.9, 0.99))

    def accumulate(self, simulated: Tensor, noise: Tensor, share: float) -> tuple[Tensor, Tensor, dict[str, float]]:
        """Add `share` of these pictures' gradient; return them transformed and the teacher's depth, both detached."""
        transformed, change = self.net(simulated, noise)
        with autocast(self._device, self._precision):
            depth, seen = self.observed(self._normalise(transformed))
        if not seen.mean.requires_grad:
            raise ModelError(
                f"No gradient passes through the teacher {self._name}, so no transformation can be fitted to it",
                fix="Remove torch.no_grad or inference_mode from its forward, or pass --no-transformation",
            )
        distances = self._distance(self._running.update(self._ranks.moments(seen)))
        loss = distances.mean() + self.settings.keep_weight * change
        (loss * share).backward()
        metrics = {"statistics": float(distances.detach().mean()), "change": float(change.detach())}
        return transformed.detach(), depth.detach().float(), metrics

    def update(self, rate: float) -> None:
        """Make one step with the gradient that was accumulated, at `rate` of the learning rate."""
        for group in self._optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * rate
        self._ranks.average_gradients(self.net.parameters())
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    def noise(self, pictures: Tensor, step: int) -> Tensor:
        """This process's part of the noise of one step, which depends on the seed and the step alone."""
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
