"""A student trained as it will be on the device: the weights and inputs of its convolutions rounded to int8.

Rounding has no gradient, so the gradient passes straight through it. The width of a range has one, so the ranges are
learned with the weights (Esser et al., "Learned Step Size Quantization", ICLR 2020). As in the encodings of `targets`,
weights have a scale per output channel, which folding a BatchNorm does not affect, an input has one scale for all
channels, and the first and the last convolution stay in float.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edgekd.models.given import given_to
from edgekd.models.running_order import running_order
from targets.input import InputSpec

__all__ = ["SimulatedInt8"]

_KEPT = 0.99999  # share of an input's values within its initial range
_LOOKED_AT = 1 << 20  # values that range is estimated from
_STEPS = 255


class SimulatedInt8(nn.Module):
    """Runs a student in simulated int8. Its parameters are the ranges, initialised from what the first call sees."""

    low: Tensor
    high: Tensor
    started: Tensor

    def __init__(self, student: nn.Module, spec: InputSpec) -> None:
        super().__init__()
        self._layers = _in_order(student, spec)[1:-1]
        count = len(self._layers)
        self.widening = nn.Parameter(torch.zeros(count))  # logarithm of the factor on each range
        self.register_buffer("low", torch.zeros(count))
        self.register_buffer("high", torch.ones(count))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def run(self, student: nn.Module, pictures: Tensor) -> Tensor:
        """The student's depth on normalised pictures [N, 3, H, W]."""
        handles = [
            layer.register_forward_pre_hook(self._reader(index), with_kwargs=True)
            for index, (_, layer) in enumerate(self._layers)
        ]
        weights = {f"{name}.weight": _rounded_weight(layer.weight) for name, layer in self._layers}
        if not self.started:
            self.low.zero_()
            self.high.zero_()
        try:
            # Not tied: of a layer with two names, torch would put the rounded weight back instead of the trained one.
            depth: Tensor = functional_call(student, weights, (pictures,), tie_weights=False)
        finally:
            for handle in handles:
                handle.remove()
        self.started.fill_(True)
        return depth

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The learned (lowest, highest) value of what each convolution reads, by the convolution's name."""
        factor = self.widening.detach().exp()
        ends = zip((self.low * factor).tolist(), (self.high * factor).tolist(), strict=True)
        return {name: found for (name, _), found in zip(self._layers, ends, strict=True)}

    def _reader(self, index: int) -> Any:
        def read(layer: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
            x = given_to(inputs, named)
            if not self.started:
                low, high = _range(x.detach())
                self.low[index] = torch.minimum(self.low[index], low)  # a layer may run several times
                self.high[index] = torch.maximum(self.high[index], high)
            factor = self.widening[index].exp()
            low, high = self.low[index].clone(), self.high[index].clone()  # the first call still writes the others
            return (_rounded(x, low * factor, high * factor),), {}

        return read


def _in_order(student: nn.Module, spec: InputSpec) -> list[tuple[str, nn.Conv2d]]:
    """The convolutions and their names, in the order in which they run."""
    layers = {name: layer for name, layer in student.named_modules() if isinstance(layer, nn.Conv2d)}
    return [(name, layers[name]) for name in running_order(student, list(layers), spec)]


def _range(values: Tensor) -> tuple[Tensor, Tensor]:
    seen = values.flatten()
    seen = seen[:: seen.numel() // _LOOKED_AT | 1].float().sort().values
    last = seen.numel() - 1
    zero = seen.new_zeros(())
    high = torch.maximum(seen[round(_KEPT * last)], zero + 1e-6)
    return torch.minimum(seen[round((1 - _KEPT) * last)], zero), high


def _rounded(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    step = (high - low) / _STEPS
    zero = (-low / step).detach().round()
    codes = (values / step + zero).clamp(0, _STEPS)
    return (_round(codes) - zero) * step


def _rounded_weight(weight: Tensor) -> Tensor:
    scale = weight.detach().abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12) / 127
    return _round(weight / scale) * scale


def _round(codes: Tensor) -> Tensor:
    """Round `codes`, passing the gradient straight through."""
    return codes + (codes.round() - codes).detach()
