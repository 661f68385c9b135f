"""How fast a student learns: what is left of the learning rate over the steps, and what each weight gets of it."""

from __future__ import annotations

import math

from torch import Tensor, nn

from edgekd.distill.settings import DistillSettings
from edgekd.models.slim import Slim

__all__ = ["over_steps", "rate_shares"]

_WEIGHT = 0.1  # RMS of a layer's weights that learns at the full rate
_SCALE = 1.0  # and of what only scales channels, as BatchNorm does
_LEAST = 2.0**-10


def over_steps(position: float, settings: DistillSettings) -> float:
    """Share of the full learning rate: a short linear rise, then a cosine to 1 %; after the end, in int8, the same.

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
    """By the name of each parameter of a student whose first weights are solved for, its share of the learning rate.

    Adam moves every weight by about the rate, however small the weight is, and the weights of one teacher are a tenth
    of another's. So small ones move in proportion to what the teacher's layer has, by its root mean square, and what
    was solved for is refined and not washed out. Powers of two, at most 1: few different ones make few kernels.
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
