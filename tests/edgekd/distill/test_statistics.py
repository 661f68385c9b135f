from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from calibration.errors import ModelError
from edgekd.distill.moments import Moments
from edgekd.distill.statistics import StoredStatistics, stored_statistics
from edgekd.distill.statistics_distance import StatisticsDistance
from edgekd.models.running_order import running_order
from targets.input import Framing, InputSpec


def stored(**layers: tuple[list[float], list[float]]) -> StoredStatistics:
    return StoredStatistics.of({name: (torch.tensor(mean), torch.tensor(var)) for name, (mean, var) in layers.items()})


def test_large_statistics_are_taken_as_long_as_float32_can_square_them() -> None:
    assert stored(layer=([-1e11], [1e22])).moments.variance.item() == pytest.approx(1e22)
    for mean, variance in ((-1e13, 1.0), (0.0, 1e25)):
        with pytest.raises(ModelError, match="no pictures produce"):
            stored(layer=([mean], [variance]))


def test_distance_by_hand() -> None:
    # The floor is a hundredth of the layer's median variance: 0.04 for the first layer, 0.01 for the second.
    distance = StatisticsDistance(stored(one=([0.0, 0.0], [4.0, 4.0]), two=([1.0], [1.0])))
    seen = Moments(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([4.0, 4.04 * math.e - 0.04, 1.0]))
    # First layer: one mean is off by 1 at a variance of 4.04; one log variance ratio is 1, so 1/2. Mean over channels.
    torch.testing.assert_close(distance(seen), torch.tensor([(1 / 4.04 + 0.5) / 2, 0.0]))


def test_a_channel_that_stored_no_variance_counts_nothing() -> None:
    distance = StatisticsDistance(stored(layer=([0.0, 0.0, 0.0], [4.0, 4.0, 1e-12])))
    seen = Moments(torch.tensor([1.0, 0.0, 99.0]), torch.tensor([4.0, 4.0, 50.0]))
    torch.testing.assert_close(distance(seen), torch.tensor([1 / 4.04 / 2]))


def test_other_statistics_have_another_digest() -> None:
    """By it, a checkpoint of a run on other statistics is refused."""
    digests = [
        stored(**{name: (mean, variance)}).digest
        for name, mean, variance in (("a", [1.0], [2.0]), ("b", [1.0], [2.0]), ("a", [3.0], [2.0]), ("a", [1.0], [4.0]))
    ]
    assert len(set(digests)) == 4 and digests[0] == stored(a=([1.0], [2.0])).digest


def test_a_teacher_without_statistics_is_refused_with_what_still_can_be_done() -> None:
    with pytest.raises(ModelError, match="--no-transformation"):
        stored_statistics(nn.Conv2d(3, 1, 3))


def test_the_first_layers_are_those_that_run_first() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decoder = nn.Sequential(nn.Conv2d(4, 1, 1), nn.BatchNorm2d(1))
            self.unused = nn.BatchNorm2d(4)
            self.encoder = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.decoder(self.encoder(x))

    module = Backwards().eval()
    names = stored_statistics(module).names
    assert names == ("decoder.1", "unused", "encoder.1")
    assert running_order(module, names, InputSpec(Framing(8, 8))) == ["encoder.1", "decoder.1"]
    assert stored_statistics(module).in_order(["encoder.1", "decoder.1"]).sizes == (4, 1)


def test_the_first_layers_alone_can_be_matched() -> None:
    four = stored(a=([1.0], [1.0]), b=([2.0, 3.0], [1.0, 1.0]), c=([4.0], [1.0]), d=([5.0], [1.0]))
    half = four.first(0.5)
    assert half.names == ("a", "b") and half.moments.mean.tolist() == [1.0, 2.0, 3.0]
    assert four.first(0.01).names == ("a",)
    assert four.first(0.4).names == ("a", "b")  # 1.6 of four layers
    assert four.first(1.0).names == four.names
