"""Students and the architecture of the built-in teacher."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from calibration.errors import UnknownNameError
from edgekd.models.architectures import ARCHITECTURES, architecture
from edgekd.models.rooms import ROOMS_INPUT, RoomsNet
from edgekd.models.students import DEFAULT_STUDENT, STUDENTS, build_student
from edgekd.models.teachers import load_teacher
from targets.input import Framing, InputSpec

SMALL = InputSpec(Framing(64, 96))
MILLIONS = {  # the last four are from the published table
    "mobile-s": 0.23,
    "mobile-m": 0.48,
    "mobile-l": 2.12,
    "mobilenetv2-035": 0.24,
    "mobilenetv2-050": 0.41,
    "mobilenetv2-100": 1.42,
    "lite0-small": 0.74,
    "lite0": 2.46,
    "hu-mobilenetv2": 1.7,
    "hu-resnet34": 21.9,
    "fcrn-resnet18": 13.7,
    "fcrn-resnet50": 63.6,
}


def _millions(module: nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@pytest.mark.parametrize("name", MILLIONS)
def test_an_untrained_student_gives_the_depth_of_a_room(name: str) -> None:
    student = architecture(name).start(SMALL).train()  # as in the first step: BatchNorm has no statistics yet
    with torch.no_grad():
        depth = student(torch.randn(2, 3, 64, 96))
    assert depth.shape == (2, 1, 64, 96)
    assert 1.5 < float(depth.median()) < 4.0


@pytest.mark.parametrize("name", MILLIONS)
@pytest.mark.parametrize(("height", "width"), [(228, 304), (225, 97)])
def test_any_resolution_serves(name: str, height: int, width: int) -> None:
    student = architecture(name).start(InputSpec(Framing(height, width))).eval()
    with torch.no_grad():
        assert student(torch.rand(1, 3, height, width)).shape == (1, 1, height, width)


@pytest.mark.parametrize("name", MILLIONS)
def test_sizes_are_as_stated(name: str) -> None:
    """The pairs of arXiv 2208.12464 match the parameter counts of its table, the others those of the table here."""
    digits = 1 if MILLIONS[name] == round(MILLIONS[name], 1) else 2
    assert round(_millions(architecture(name).start(SMALL)), digits) == MILLIONS[name]


@pytest.mark.parametrize("name", MILLIONS)
def test_what_the_table_says_of_its_size_is_so(name: str) -> None:
    stated, _, _ = ARCHITECTURES[name].summary.partition(" M")
    assert abs(_millions(architecture(name).start(SMALL)) - float(stated)) < 0.051


def test_lite0_starts_with_what_imagenet_taught_it() -> None:
    """Its first filters are smooth edges and colours, not noise: neighbouring weights agree."""

    def smoothness(weights: torch.Tensor) -> float:
        weights = weights.detach()
        return float((weights[..., 1:] * weights[..., :-1]).mean() / weights.square().mean())

    trained = architecture("lite0-small").start(SMALL).get_parameter("encoder._conv_stem.weight")
    drawn = architecture("mobilenetv2-050").start(SMALL).get_parameter("encoder.features.0.0.weight")
    assert smoothness(trained) > 0.2 > smoothness(drawn)


def test_the_seed_decides_the_weights_and_leaves_torchs_own_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = architecture("mobile-m").start(SMALL, seed=4).state_dict()
    assert torch.equal(torch.rand(1), expected)
    torch.rand(10)
    again = architecture("mobile-m").start(SMALL, seed=4).state_dict()
    other = architecture("mobile-m").start(SMALL, seed=5).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem.0.weight"], other["stem.0.weight"])


def test_an_unknown_student_gives_near_matches() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean mobile-m"):
        build_student("mobil-m", load_teacher("rooms"))


@pytest.mark.parametrize("name", ["mobile-s", "mobile-m", "mobile-l", "rooms"])
def test_layers_are_ones_that_runtimes_like_and_torch_trains_safely(name: str) -> None:
    network = architecture(name).start(SMALL)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.kernel_size != (1, 1) or layer.stride == (1, 1)
            assert layer.out_channels % 8 == 0 or layer.out_channels == 1
            assert layer.bias is None or layer.out_channels == 1 or layer.kernel_size == (1, 1)


@pytest.mark.parametrize("name", ["mobile-m", "rooms"])
def test_a_network_learns_from_scratch(name: str) -> None:
    """Sixty steps on one batch: depth that follows brightness is learnt to a few per cent."""
    network = architecture(name).start(SMALL).train()
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


def test_every_student_of_the_table_is_tested_here() -> None:
    assert {name for name in STUDENTS if not name.startswith("slim")} == set(MILLIONS)
    assert set(ARCHITECTURES) == {*MILLIONS, "rooms"}
    assert DEFAULT_STUDENT in STUDENTS
