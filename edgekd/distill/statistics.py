"""The statistics that a teacher stored of the pictures it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from calibration.errors import ModelError
from calibration.files import sha256_bytes
from edgekd.distill.moments import Moments
from edgekd.models.batch_norm import batch_norm_layers, stored_by

__all__ = ["StoredStatistics", "stored_statistics"]

_LARGEST = 1e12  # mean or deviation: far larger ones cannot be squared in float32


@dataclass(frozen=True)
class StoredStatistics:
    """Moments of the inputs of a teacher's layers on the pictures it was trained on."""

    names: tuple[str, ...]  # of the layers
    sizes: tuple[int, ...]  # channels of each layer
    moments: Moments

    @classmethod
    def of(cls, layers: Mapping[str, tuple[Tensor, Tensor]]) -> StoredStatistics:
        """From mean and variance [C] of each layer's input, by layer name. Raises ModelError for absurd ones."""
        means, variances = [mean for mean, _ in layers.values()], [variance for _, variance in layers.values()]
        sizes = tuple(len(mean) for mean in means)
        for name, (mean, variance) in layers.items():
            if not (mean.abs().max() < _LARGEST and variance.max() < _LARGEST**2):
                raise ModelError(
                    f"The statistics of {name} hold a mean or variance that no pictures produce"
                    f" ({max(float(mean.abs().max()), float(variance.max())):.3g})",
                    fix="Measure them again, or save the teacher again",
                )
        return cls(tuple(layers), sizes, Moments(torch.cat(means).float(), torch.cat(variances).float()))

    def first(self, share: float) -> StoredStatistics:
        """Those of the first `share` of the layers, at least of one."""
        count = max(1, round(share * len(self.names)))
        size = sum(self.sizes[:count])
        moments = Moments(self.moments.mean[:size], self.moments.variance[:size])
        return StoredStatistics(self.names[:count], self.sizes[:count], moments)

    def in_order(self, names: Sequence[str]) -> StoredStatistics:
        """Those of the named layers, in the order of `names`."""
        layers = self.layers()
        return StoredStatistics.of({name: layers[name] for name in names})

    def layers(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean and variance [C] of each layer's input, by layer name."""
        means, variances = self.moments.mean.split(self.sizes), self.moments.variance.split(self.sizes)
        return dict(zip(self.names, zip(means, variances, strict=True), strict=True))

    @property
    def digest(self) -> str:
        """Of the layers' names and values."""
        values = torch.cat([self.moments.mean, self.moments.variance]).cpu().numpy().tobytes()
        return sha256_bytes("\n".join(self.names).encode() + values)

    def to(self, device: torch.device) -> StoredStatistics:
        return replace(self, moments=Moments(self.moments.mean.to(device), self.moments.variance.to(device)))


def stored_statistics(module: nn.Module) -> StoredStatistics:
    """What a network's own BatchNorm layers stored. Raises ModelError when there are none."""
    layers = batch_norm_layers(module)
    if not layers:
        raise ModelError(
            "The teacher has no BatchNorm statistics, so nothing is known about its training pictures",
            fix="Distil without the transformation (--no-transformation), or pass a --statistics file",
        )
    return StoredStatistics.of({name: stored_by(layer) for name, layer in layers.items()})
