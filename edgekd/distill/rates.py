"""How fast a student learns: the course of the learning rate over the steps, and each weight's share of it."""

from __future__ import annotations

import math

from torch import Tensor, nn

from edgekd.distill.settings import DistillSettings
from edgekd.models.slim import Slim

__all__ = ["over_steps", "rate_shares"]

_WEIGHT = 0.1  # RMS at which a layer's weights learn at the full rate
_SCALE = 1.0  # likewise for layers whose weight has one value per channel, such as BatchNorm
_LEAST = 2.0**-10


def over_steps(position: float, settings: DistillSettings) -> float:
    """Share of the full learning rate: a short linear rise, then a cosine to 1 %; in int8, a second, lower cosine.

    `position` is 0 at the first step of the student and 1 after the last that is not in int8.
    """
    steps = settings.steps
    if position >= 1 and settings.quantisation is not None:
        along = (position - 1) * steps / settings.quantisation.steps
        return settings.quantisation.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along)))
    rise = max(1, round(min(0.1 * steps, 50))) / steps
    if position < rise:
        return min(1.0, (position * steps + 1) / (rise * steps))
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (position - rise) / (1 - rise)))


def rate_shares(student: Slim, teacher: nn.Module) -> dict[str, float]:
    """The learning rate's share for each parameter, by name, of a student whose first weights are solved for.

    Adam moves every weight by about the learning rate, however small the weight, and one teacher's weights are a tenth
    of another's. Small weights therefore move in proportion to the root mean square of the teacher's layer, so that the
    solution is refined and not washed out. Shares are powers of two, at most 1: few distinct ones need few kernels.
    """
    layers = dict(teacher.named_modules())
    shares = {}
    for name, parameter in student.network.named_parameters():
        layer, _, own = name.rpartition(".")
        theirs = layers.get(layer)
        weights = getattr(theirs, "weight", None)
        weight: Tensor = weights if isinstance(weights, Tensor) else getattr(theirs, own, parameter)
        full = _WEIGHT if weight.ndim > 1 else _SCALE
        size = float(weight.detach().float().square().mean().sqrt()) / full
        shares[f"network.{name}"] = 2.0 ** round(math.log2(min(1.0, max(_LEAST, size))))
    return shares
