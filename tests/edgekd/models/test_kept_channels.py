"""Which channels a student cut out of its teacher keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekd.models.batch_norm import batch_norm_layers
from edgekd.models.channels import Reading, least_missed_first, readings
from edgekd.models.pictures import NormalisePictures, probe_pictures
from edgekd.models.slim import Slim, choose_channels, slim
from edgekd.models.teacher import Teacher
from edgekd.models.teachers import load_teacher


@pytest.fixture(scope="module")
def rooms() -> Teacher:
    return load_teacher("rooms")


@pytest.fixture(scope="module")
def pictures(rooms: Teacher) -> list[Tensor]:
    shown = torch.from_numpy(probe_pictures(rooms.input.height, rooms.input.width, 16))
    with torch.no_grad():
        return [NormalisePictures(rooms.input)(shown)]


@pytest.fixture(scope="module")
def chosen(rooms: Teacher, pictures: list[Tensor]) -> Slim:
    return slim(rooms, 0.5, pictures)


def reading(samples: np.ndarray, weights: np.ndarray) -> Reading:
    return Reading(torch.from_numpy(weights), torch.from_numpy(np.cov(samples, bias=True)))


def test_the_order_is_that_of_solving_every_case_by_least_squares() -> None:
    """Two layers read seven channels: their summed loss decides, each solved again with numpy."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(7, 7)) * rng.uniform(0.3, 2, size=(7, 1))
    samples = [mixing @ rng.normal(size=(7, 400)), rng.normal(size=(7, 7)) @ rng.normal(size=(7, 400))]
    weights = [rng.normal(size=(7, 3)), rng.normal(size=(7, 5))]

    def lost(left: list[int]) -> float:
        total = 0.0
        for read, own in zip(samples, weights, strict=True):
            centred = read - read.mean(1, keepdims=True)
            wanted = own.T @ centred
            solved = np.linalg.lstsq(centred[left].T, wanted.T, rcond=None)[0]
            total += float(((solved.T @ centred[left] - wanted) ** 2).mean(1).sum())
        return total

    left, order = list(range(7)), []
    for _ in range(4):
        least = min(left, key=lambda one: lost([other for other in left if other != one]))
        left.remove(least)
        order.append(least)
    using = [(reading(read, own), torch.arange(7)) for read, own in zip(samples, weights, strict=True)]
    assert least_missed_first(using, 7, 4).argsort()[:4].tolist() == order


def test_a_channel_that_another_repeats_goes_first_however_large_its_weights() -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(size=(4, 500))
    samples[2] = 3 * samples[0]
    weights = np.array([[5.0], [0.5], [4.0], [0.4]])
    ranks = least_missed_first([(reading(samples, weights), torch.arange(4))], 4, 2)
    assert ranks.argmin() in (0, 2)
    assert ranks[0] != 1 and ranks[2] != 1  # only one of the two goes early: the other is then irreplaceable


def test_channels_that_are_exactly_alike_can_be_ranked() -> None:
    """Their covariance has no inverse."""
    covariance = torch.tensor([[4.0, 4.0, 0.0], [4.0, 4.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    alike = Reading(torch.tensor([[2.0], [1.0], [1.0]], dtype=torch.float64), covariance)
    assert least_missed_first([(alike, torch.arange(3))], 3, 1).tolist() == [3.0, 0.0, 3.0]


def test_channels_that_are_never_lit_go_first() -> None:
    samples = np.random.default_rng(3).normal(size=(4, 500)) * np.array([[1.0], [0.0], [1.0], [0.0]])
    for lit in (samples, 0 * samples):
        ranks = least_missed_first([(reading(lit, np.ones((4, 2))), torch.arange(4))], 4, 2)
        assert sorted(ranks.tolist()) == [0.0, 1.0, 4.0, 4.0]
    assert least_missed_first([(reading(samples, np.ones((4, 2))), torch.arange(4))], 4, 2)[[1, 3]].max() == 1.0


def test_channels_are_found_where_the_layer_reads_them() -> None:
    """Behind a concatenation, a layer may read channel 0 as its input 2."""
    samples = np.diag([1.0, 2.0, 3.0, 4.0]) @ np.random.default_rng(2).normal(size=(4, 500))
    one = reading(samples, np.ones((4, 1)))
    assert least_missed_first([(one, torch.tensor([3, 2]))], 2, 1).tolist() == [2.0, 0.0]


def test_a_reading_is_what_the_layer_is_given() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1, bias=False)).eval()
    some = [torch.randn(2, 3, 9, 9), torch.randn(1, 3, 9, 9) + 1]
    found = readings(network, some)
    given = torch.cat([network[:2](part).permute(1, 0, 2, 3).flatten(1) for part in some], 1).detach().numpy()
    np.testing.assert_allclose(found["2"].covariance, np.cov(given, bias=True), rtol=1e-4, atol=1e-6)
    # In units of the output's variance: the parts of all outputs add up to 1.
    variance = float(np.var(network[2].weight.detach().numpy()[:, :, 0, 0] @ given, axis=1).sum())
    whole = found["2"].weights.T @ found["2"].covariance @ found["2"].weights
    assert float(whole.trace()) == pytest.approx(1.0, rel=1e-4)
    assert variance > 0


def test_before_a_norm_every_output_counts_as_the_norm_scales_it() -> None:
    """The first output varies a tenth as much as the second, but comes out of the norm as large."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.BatchNorm2d(2, momentum=None))
    pictures = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[0.1, 0, 0], [0, 1.0, 0]]).view(2, 3, 1, 1))
        network.train()(pictures)  # the norm stores what it sees
        found = readings(network.eval(), [pictures])["0"]
    energy = (found.weights @ found.weights.T).diagonal() * found.covariance.diagonal()
    np.testing.assert_allclose(energy, [0.5, 0.5, 0], atol=0.01)


def test_as_many_channels_are_kept_as_by_size_but_others(rooms: Teacher, chosen: Slim) -> None:
    by_size = slim(rooms, 0.5)
    assert {name: len(kept) for name, kept in chosen.kept.items()} == {
        name: len(kept) for name, kept in by_size.kept.items()
    }
    assert chosen.kept != by_size.kept


def test_what_is_kept_is_the_teachers(rooms: Teacher, chosen: Slim) -> None:
    theirs = batch_norm_layers(rooms.module)
    for name, layer in batch_norm_layers(chosen.network).items():
        kept = list(chosen.kept[name])
        torch.testing.assert_close(layer.weight.detach(), theirs[name].weight[kept])
        np.testing.assert_array_equal(chosen.stored[name].mean, theirs[name].bias[kept].detach())


def test_a_student_can_be_filled_from_one_with_other_channels(rooms: Teacher, chosen: Slim) -> None:
    """As when a run's weights are read: they include which channels they belong to."""
    filled = slim(rooms, 0.5)
    filled.load_state_dict(chosen.state_dict())
    assert filled.kept == chosen.kept
    for name, statistics in filled.stored.items():
        np.testing.assert_array_equal(statistics.mean, chosen.stored[name].mean)
        np.testing.assert_array_equal(statistics.deviation, chosen.stored[name].deviation)


def test_a_student_is_cut_anew_in_place(rooms: Teacher, pictures: list[Tensor], chosen: Slim) -> None:
    student = slim(rooms, 0.5)
    choose_channels(student, rooms, pictures)
    assert student.kept == chosen.kept
    assert all(torch.equal(mine, other) for mine, other in zip(student.parameters(), chosen.parameters(), strict=True))
