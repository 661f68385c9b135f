"""Students and the architecture of the built-in teacher."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from calibration.errors import UnknownNameError
from edgekd.models.rooms import ROOMS_INPUT, RoomsNet
from edgekd.models.students import DEFAULT_STUDENT, STUDENTS, build_student
from targets.input import Framing, InputSpec

SMALL = InputSpec(Framing(64, 96))
RANGES = {"mobile-s": (0.1, 0.3), "mobile-m": (0.4, 0.65), "mobile-l": (1.7, 2.3)}


def _millions(module: nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@pytest.mark.parametrize("name", STUDENTS)
def test_an_untrained_student_gives_the_depth_of_a_room(name: str) -> None:
    student = build_student(name, SMALL).eval()
    with torch.no_grad():
        depth = student(torch.randn(2, 3, 64, 96))
    assert depth.shape == (2, 1, 64, 96)
    assert 1.5 < float(depth.median()) < 4.0


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize(("height", "width"), [(228, 304), (225, 97)])
def test_any_resolution_serves(name: str, height: int, width: int) -> None:
    student = build_student(name, InputSpec(Framing(height, width))).eval()
    with torch.no_grad():
        assert student(torch.rand(1, 3, height, width)).shape == (1, 1, height, width)


@pytest.mark.parametrize("name", STUDENTS)
def test_sizes_are_as_stated(name: str) -> None:
    least, most = RANGES[name]
    assert least <= _millions(build_student(name, SMALL)) <= most


def test_the_seed_decides_the_weights_and_leaves_torchs_own_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = build_student(DEFAULT_STUDENT, SMALL, seed=4).state_dict()
    assert torch.equal(torch.rand(1), expected)
    torch.rand(10)
    again = build_student(DEFAULT_STUDENT, SMALL, seed=4).state_dict()
    other = build_student(DEFAULT_STUDENT, SMALL, seed=5).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem.0.weight"], other["stem.0.weight"])


def test_an_unknown_student_gives_near_matches() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean mobile-m"):
        build_student("mobil-m", SMALL)


@pytest.mark.parametrize("name", [*STUDENTS, "rooms"])
def test_layers_are_ones_that_runtimes_like_and_torch_trains_safely(name: str) -> None:
    network = RoomsNet() if name == "rooms" else build_student(name, SMALL)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.kernel_size != (1, 1) or layer.stride == (1, 1)
            assert layer.out_channels % 8 == 0 or layer.out_channels == 1
            assert layer.bias is None or layer.out_channels == 1 or layer.kernel_size == (1, 1)


@pytest.mark.parametrize("name", [DEFAULT_STUDENT, "rooms"])
def test_a_network_learns_from_scratch(name: str) -> None:
    """Sixty steps on one batch: depth that follows brightness is learnt to a few per cent."""
    network = (RoomsNet(SMALL) if name == "rooms" else build_student(name, SMALL)).train()
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 3, 4, 6, generator=generator)
    pictures = nn.functional.interpolate(coarse, size=(64, 96), mode="bilinear")
    depth = 1 + 4 * pictures.mean(1, keepdim=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3)
    errors = []
    for _ in range(60):
        error = (network(pictures).log() - depth.log()).abs().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert errors[-1] < 0.08 < errors[0]


def test_the_built_in_teacher_fits_into_its_file_and_stores_statistics() -> None:
    network = RoomsNet()
    assert 1.0 < _millions(network) < 1.9
    assert (network.input.height, network.input.width) == (192, 256)
    assert network.input == ROOMS_INPUT
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()) > 20
