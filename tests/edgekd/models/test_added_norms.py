"""BatchNorm layers that are added behind convolutions without any."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from folding import folded
from torch import Tensor, nn

from edgekd.distill.counterparts import fit_norms
from edgekd.distill.reconstruction import reconstruct
from edgekd.models.added_norms import AddedNorm, add_norms, with_norms
from edgekd.models.batch_norm import batch_norm_layers
from edgekd.models.pictures import NormalisePictures, probe_pictures
from edgekd.models.slim import slim
from edgekd.models.teacher import Teacher
from edgekd.models.teachers import load_teacher
from targets.input import Framing, InputSpec

SMALL = InputSpec(Framing(16, 16))


@pytest.fixture(scope="module")
def rooms() -> Teacher:
    return load_teacher("rooms")


@pytest.fixture(scope="module")
def pictures(rooms: Teacher) -> Tensor:
    shown = torch.from_numpy(probe_pictures(rooms.input.height, rooms.input.width, 12))
    with torch.no_grad():
        return NormalisePictures(rooms.input)(shown)


def with_fitted_norms(teacher: Teacher, pictures: Tensor) -> Teacher:
    found = with_norms(teacher)
    fit_norms(found.module, pictures.split(4))
    return found


def added_to(network: nn.Module) -> list[str]:
    add_norms(network, SMALL)
    return [name for name, layer in network.named_modules() if isinstance(layer, AddedNorm)]


@torch.no_grad()
def test_a_folded_network_gets_as_many_as_it_lost_and_gives_the_same(rooms: Teacher, pictures: Tensor) -> None:
    teacher = folded(rooms)
    found = with_fitted_norms(teacher, pictures)
    assert batch_norm_layers(teacher.module) == {}
    assert len(batch_norm_layers(found.module)) == len(batch_norm_layers(rooms.module))
    torch.testing.assert_close(found.module(pictures), teacher.module(pictures), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_their_statistics_are_those_of_what_they_are_given(rooms: Teacher, pictures: Tensor) -> None:
    teacher = folded(rooms)
    found = with_fitted_norms(teacher, pictures)
    name = [name for name, layer in teacher.module.named_modules() if isinstance(layer, nn.Conv2d)][7]
    given: list[Tensor] = []
    with teacher.module.get_submodule(name).register_forward_hook(lambda layer, inputs, out: given.append(out.clone())):
        teacher.module(pictures)
    norm = found.module.get_submodule(f"{name}.1")
    variance, mean = torch.var_mean(given[0], (0, 2, 3), correction=0)
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, variance, rtol=1e-4, atol=1e-6)


def test_pictures_count_alike_in_batches_of_any_size() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1)).eval()
    add_norms(network, SMALL)
    pictures = torch.cat([torch.zeros(4, 3, 16, 16), torch.rand(1, 3, 16, 16) + 5])
    found = []
    for parts in (pictures.split(5), pictures.split(4)):
        fit_norms(network, parts)
        found.append((network[0][1].running_mean.clone(), network[0][1].running_var.clone()))
    torch.testing.assert_close(found[0], found[1])


@torch.no_grad()
def apart(student: nn.Module, teacher: Teacher, pictures: Tensor) -> float:
    depth = teacher.module(pictures)
    return float(((student.eval()(pictures) - depth).abs() / depth).mean())


def test_a_student_of_a_folded_network_starts_as_near_as_one_of_itself(rooms: Teacher, pictures: Tensor) -> None:
    errors = []
    for teacher in (rooms, with_fitted_norms(folded(rooms), pictures)):
        student = slim(teacher, 0.25, pictures.split(4))
        reconstruct(student, teacher.module, pictures.split(4), 0.1)
        errors.append(apart(student, teacher, pictures))
    itself, of_folded = errors
    assert of_folded < 1.3 * itself < 0.1


class _Norms(nn.Module):
    """Convolutions with BatchNorm behind an activation in place, with GroupNorm, run twice, and without any."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.second, self.groups = nn.Conv2d(16, 16, 3, padding=1), nn.GroupNorm(2, 16)
        self.twice = nn.Conv2d(16, 16, 3, padding=1)
        self.up, self.depth = nn.ConvTranspose2d(16, 8, 1), nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(F.relu_(self.first(x)))
        x = F.relu(self.groups(self.second(x)))
        return self.depth(F.relu(self.up(self.twice(F.relu(self.twice(x)))))).exp()


def test_only_layers_without_a_batch_norm_that_run_once_get_one() -> None:
    assert added_to(_Norms().eval()) == ["second.1", "up.1"]


def test_a_network_that_reads_its_layers_weights_is_left_alone() -> None:
    class Reading(_Norms):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.to(self.second.weight.dtype))

    network = Reading().eval()
    assert added_to(network) == []
    network(torch.rand(1, 3, 16, 16))


class _ConvNeXt(nn.Module):
    """A block as in Liu et al., A ConvNet for the 2020s, CVPR 2022."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.over_space = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.over_channels = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.over_space(x).permute(0, 2, 3, 1))
        return x + self.over_channels(y).permute(0, 3, 1, 2)


def _convnext() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), _ConvNeXt(32), _ConvNeXt(32), nn.Conv2d(32, 1, 1))


def _normalised_by(norm: type[nn.Module], *given: int) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs in (3, 32):
        layers += [nn.Conv2d(inputs, 32, 3, padding=1), norm(*given), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(32, 1, 1))


@pytest.mark.parametrize(
    "network",
    [
        _convnext(),
        _normalised_by(nn.GroupNorm, 4, 32),
        _normalised_by(nn.InstanceNorm2d, 32),
        _normalised_by(nn.Identity),
    ],
    ids=["LayerNorm", "GroupNorm", "InstanceNorm", "none"],
)
def test_networks_that_never_had_batch_norm_are_cut_and_solved_for(network: nn.Module) -> None:
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, 1.0 if parameter.ndim == 1 else 0.0, 0.1)
    teacher = Teacher("net", network.eval().requires_grad_(False), SMALL, digest="0" * 64, source="a test")
    pictures = torch.randn(24, 3, 16, 16)
    taught = with_fitted_norms(teacher, pictures)
    student = slim(taught, 0.5, pictures.split(8))
    cut = (student.eval()(pictures) - network(pictures)).square().mean()
    reconstruct(student, taught.module, pictures.split(8), 0.01)
    solved = (student(pictures) - network(pictures)).square().mean()
    assert solved < 0.6 * cut
    assert sum(weights.numel() for weights in student.parameters()) < 0.4 * sum(
        weights.numel() for weights in network.parameters()
    )
