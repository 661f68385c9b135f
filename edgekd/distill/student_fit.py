"""The student while it is trained, and its optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.distill.device import autocast
from edgekd.distill.features import FeatureMatch
from edgekd.distill.losses import distillation_loss
from edgekd.distill.ranks import ALONE, Ranks
from edgekd.distill.settings import DistillSettings
from edgekd.distill.shared_norm import share_norms, unshare_norms
from edgekd.distill.simulated_int8 import SimulatedInt8
from edgekd.distill.tensors import Normalise
from edgekd.models.evaluating import evaluating
from targets.input import InputSpec

__all__ = ["StudentFit"]


class StudentFit:
    """The student, its feature matching, and its optimiser."""

    def __init__(
        self,
        student: nn.Module,
        spec: InputSpec,
        settings: DistillSettings,
        device: torch.device,
        features: FeatureMatch | None = None,
        ranks: Ranks = ALONE,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        """`shares` is given for a student whose first weights are solved for (`Fitting.start`): the share of the
        learning rate for each of its parameters, by name. All others get the full rate.
        """
        self.solved = shares is not None
        """If so, BatchNorm layers keep the statistics set over many pictures: those of a batch would undo more than a
        low rate repairs."""
        shares = shares or {}
        self.student = student.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.student.train(not self.solved)
        self._settings = settings
        self._device = device
        self._ranks = ranks
        if ranks.count > 1 and not self.solved:  # otherwise BatchNorm does not use the batch
            share_norms(self.student)
        self._normalise = Normalise(spec).to(device)
        self.features = None if features is None else features.to(device)
        if self.features is not None:
            self.features.watch_student(self.student)
        self.int8 = None
        if settings.quantisation is not None:
            self.int8 = SimulatedInt8(self.student, spec).to(device)
        others = [
            *([] if self.features is None else self.features.parameters()),
            *([] if self.int8 is None else self.int8.parameters()),
        ]
        self._trained = [*self.student.parameters(), *others]
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
        for name, parameter in self.student.named_parameters():
            groups.setdefault((shares.get(name, 1.0), parameter.ndim > 1), []).append(parameter)
        for parameter in others:
            groups[1.0, parameter.ndim > 1].append(parameter)
        self._optimiser = torch.optim.AdamW(
            [
                {"params": parameters, "share": share, "weight_decay": settings.weight_decay if decays else 0.0}
                for (share, decays), parameters in groups.items()
                if parameters
            ],
            lr=settings.learning_rate,
        )

    def accumulate(
        self, pictures: Tensor, depth: Tensor, share: float = 1.0, *, int8: bool = False
    ) -> dict[str, float]:
        """Add `share` of the gradient towards the teacher's `depth` on `pictures`; with `int8`, in simulated int8."""
        if int8 and self.int8 is not None:  # in float32: half precision would round again
            predicted = self.int8.run(self.student, self._normalise(pictures))
        else:
            with autocast(self._device, self._settings.precision):
                predicted = self.student(self._normalise(pictures))
        loss = distillation_loss(predicted.float(), depth)
        metrics = {"loss": float(loss.detach())}
        if self.features is not None:
            assert self._settings.features is not None
            apart = self.features()
            loss = loss + self._settings.features.weight * apart
            metrics["features"] = float(apart.detach())
        (loss * share).backward()
        return metrics

    def update(self, rate: float) -> None:
        """Make one step with the gradient that was accumulated, at `rate` of the learning rate."""
        for group in self._optimiser.param_groups:
            share = group.get("share", 1.0)  # the checkpoint of an older version has none
            group["lr"] = self._settings.learning_rate * rate * share
        self._ranks.average_gradients(self._trained)
        nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    @torch.no_grad()
    def predict(self, pictures: Tensor) -> Tensor:
        """The current student's depth in evaluation mode, [N, 1, H, W]."""
        with evaluating(self.student):
            predicted: Tensor = self.student(self._normalise(pictures))
        return predicted.float()

    def finish(self) -> None:
        """Turn the trained student back into a plain network in eval mode."""
        unshare_norms(self.student)
        self.student.eval()

    def state_dict(self) -> dict[str, Any]:
        return {
            "student": self.student.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "features": {} if self.features is None else self.features.state_dict(),
            "int8": {} if self.int8 is None else self.int8.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.student.load_state_dict(state["student"])
        if self.features is not None:
            self.features.load_state_dict(state["features"])
        if self.int8 is not None:
            self.int8.load_state_dict(state["int8"])
        self._optimiser.load_state_dict(state["optimiser"])
