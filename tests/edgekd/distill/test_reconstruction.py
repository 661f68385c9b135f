"""The weights of a student cut out of its teacher are solved for before it is trained."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.distill.convolution_call import ConvolutionCall, call_of
from edgekd.distill.reconstruction import _refit_norm, _rescale, _solve, reconstruct, solvable
from edgekd.models.batch_norm import batch_norm_layers
from edgekd.models.pictures import NormalisePictures, probe_pictures
from edgekd.models.slim import Slim, choose_channels, slim
from edgekd.models.stored import layers_as_run
from edgekd.models.teacher import Teacher
from targets.input import Framing, InputSpec


@pytest.fixture(scope="module")
def pictures(rooms: Teacher) -> Tensor:
    """Six pictures, and the same six mirrored with shifted colours."""
    shown = torch.from_numpy(probe_pictures(rooms.input.height, rooms.input.width, 6))
    with torch.no_grad():
        normal = NormalisePictures(rooms.input)(shown)
    return torch.cat([normal, 0.7 * normal.flip(3) + 0.2])


def solved(student: Slim, teacher: Teacher, pictures: Tensor, ridge: float) -> Slim:
    reconstruct(student, teacher.module, pictures.split(4), ridge)
    return student.eval()


@torch.no_grad()
def apart(student: nn.Module, teacher: Teacher, pictures: Tensor) -> float:
    """Mean relative difference of depths."""
    depth = teacher.module(pictures)
    return float(((student.eval()(pictures) - depth).abs() / depth).mean())


class _PadsItself(nn.Conv2d):
    """As in networks ported from TensorFlow: the field `padding` does not describe the padding."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.weight, self.bias, self.stride)


def _call(convolution: nn.Conv2d, x: Tensor) -> ConvolutionCall:
    call = call_of(convolution, x)
    assert call is not None
    return call


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 6, 1),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
        nn.Conv2d(4, 6, 3, padding="same", dilation=2, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, stride=2, groups=4, padding_mode="reflect"),
        nn.Conv2d(4, 6, 3, padding="valid", padding_mode="replicate"),
        _PadsItself(4, 6, 3, padding=1, stride=2),
    ],
    ids=lambda layer: layer.extra_repr(),
)
@torch.no_grad()
def test_what_a_convolution_reads_times_its_weights_is_what_it_gives(convolution: nn.Conv2d) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 11, 13)
    output = convolution(x)
    places = torch.tensor([0, 5, output.shape[2] * output.shape[3] - 1])
    read = _call(convolution, x).columns(slice(0, 2), places).unflatten(1, (convolution.groups, -1))
    weights = convolution.weight.flatten(1).unflatten(0, (convolution.groups, -1))
    given = torch.einsum("gou,ngup->ngop", weights, read).flatten(1, 2) + convolution.bias.view(1, -1, 1)
    torch.testing.assert_close(given, output.flatten(2)[:, :, places], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_weights_are_those_of_numpys_least_squares() -> None:
    torch.manual_seed(0)
    layer, x = nn.Conv2d(3, 2, 3, padding=1, bias=False), torch.randn(4, 3, 8, 8)
    wanted = F.conv2d(x, torch.randn(2, 3, 3, 3), torch.tensor([0.5, -2.0]), padding=1).flatten(2)
    wanted += 0.1 * torch.randn_like(wanted)
    before, ridge = layer.weight.double().flatten(1), 0.3
    read = F.unfold(x, 3, padding=1).permute(1, 0, 2).flatten(1).double()
    held = np.sqrt(ridge * float(read.square().sum(1).mean()))
    left = np.block([[read.T.numpy(), np.ones((read.shape[1], 1))], [held * np.eye(27), np.zeros((27, 1))]])
    right = np.concatenate([wanted.permute(0, 2, 1).flatten(0, 1).double().numpy(), held * before.T.numpy()])
    expected = np.linalg.lstsq(left, right, rcond=None)[0]
    shift = _solve(layer, _call(layer, x), wanted, torch.arange(64), ridge)
    np.testing.assert_allclose(layer.weight.flatten(1).T, expected[:-1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(shift, expected[-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("biased", [False, True])
@torch.no_grad()
def test_a_layer_of_too_many_weights_is_scaled_as_numpys_line_fit_says(biased: bool) -> None:
    torch.manual_seed(0)
    layer, x = nn.Conv2d(3, 2, 3, bias=biased), torch.randn(4, 3, 8, 8)
    given = layer(x).flatten(2)
    wanted = 1.7 * given - 0.4 + 0.1 * torch.randn_like(given)
    lines = [np.polyfit(given[:, c].flatten(), wanted[:, c].flatten(), 1) for c in range(2)]
    shift = _rescale(layer, given, wanted)
    expected = torch.stack([float(a) * given[:, c] + float(b) for c, (a, b) in enumerate(lines)], 1)
    torch.testing.assert_close(layer(x).flatten(2) + shift.view(-1, 1), expected, rtol=1e-4, atol=1e-4)


def test_a_student_with_all_channels_is_the_teacher_again_whatever_its_weights_were(
    rooms: Teacher, pictures: Tensor
) -> None:
    student = slim(rooms, 0.0)
    torch.manual_seed(0)
    with torch.no_grad():
        for module in student.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.mul_(1 + 0.3 * torch.randn_like(module.weight))
    assert apart(student, rooms, pictures) > 0.05
    assert apart(solved(student, rooms, pictures, 1e-9), rooms, pictures) < 1e-3


def test_a_cut_student_comes_nearer_to_its_teacher_on_other_pictures_too(rooms: Teacher, pictures: Tensor) -> None:
    student = slim(rooms, 0.25)
    others = pictures[[1, 4]].flip(3) * 0.9 - 0.1
    before = apart(student, rooms, others)
    assert apart(solved(student, rooms, pictures, 0.1), rooms, others) < before / 2


class _Wide(nn.Module):
    """A body with so many weights that it is fitted at more pixels than usual; a student's would not be."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 320, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(320), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(320, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.depth = nn.Conv2d(32, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        depth: Tensor = F.interpolate(self.depth(self.body(self.stem(x))), x.shape[-2:]).exp()
        return depth


def test_a_wide_teachers_student_is_solved_for_too(rooms: Teacher, pictures: Tensor) -> None:
    torch.manual_seed(0)
    wide = replace(rooms, module=_Wide().eval().requires_grad_(False))
    student = slim(wide, 0.25)
    before = apart(student, wide, pictures)
    assert apart(solved(student, wide, pictures, 0.1), wide, pictures) < before / 2


def test_layers_that_are_only_scaled_bring_it_nearer_too(
    rooms: Teacher, pictures: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekd.distill.reconstruction._MOST_UNKNOWNS", 0)
    student = slim(rooms, 0.25)
    before = apart(student, rooms, pictures)
    assert apart(solved(student, rooms, pictures, 0.1), rooms, pictures) < before / 1.5


def test_its_norms_give_the_same_in_training_as_in_evaluation(rooms: Teacher, pictures: Tensor) -> None:
    """Otherwise the first training step would undo the solution."""
    student = solved(slim(rooms, 0.25), rooms, pictures, 0.1)
    trained = copy.deepcopy(student).train()
    with torch.no_grad():
        torch.testing.assert_close(trained(pictures), student(pictures), rtol=1e-3, atol=1e-3)
    assert all(layer.running_var.min() >= 0 for layer in batch_norm_layers(student.network).values())


@torch.no_grad()
def test_a_norm_that_is_refitted_adds_the_constant_that_a_convolution_cannot() -> None:
    torch.manual_seed(0)
    norm, output, shift = nn.BatchNorm2d(3).eval(), 0.01 * torch.randn(4, 3, 16, 16), torch.tensor([0.01, -0.02, 0.0])
    for values in (norm.weight, norm.bias, norm.running_mean):
        values.normal_()
    norm.running_var.uniform_(1e-4, 2e-4)  # hardly more than the epsilon
    expected = norm(output + shift.view(1, -1, 1, 1))
    _refit_norm(norm, output, shift)
    torch.testing.assert_close(norm(output), expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(norm.train()(output), expected, rtol=1e-4, atol=1e-3)


def test_it_is_the_same_each_time_and_leaves_the_teacher_alone(rooms: Teacher, pictures: Tensor) -> None:
    before = {name: value.clone() for name, value in rooms.module.state_dict().items()}
    one, other = (solved(slim(rooms, 0.5), rooms, pictures, 0.1).state_dict() for _ in range(2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert all(torch.equal(value, before[name]) for name, value in rooms.module.state_dict().items())


@torch.no_grad()
def test_where_nothing_can_add_a_constant_none_is_counted_on() -> None:
    torch.manual_seed(0)
    layer, x = nn.Conv2d(3, 2, 1, bias=False), torch.randn(4, 3, 8, 8)
    wanted = F.conv2d(x, torch.randn(2, 3, 1, 1), torch.tensor([0.5, -2.0])).flatten(2)
    read, aims = x.flatten(2).transpose(0, 1).flatten(1).T.numpy(), wanted.transpose(0, 1).flatten(1).T.numpy()
    assert not _solve(layer, _call(layer, x), wanted, torch.arange(64), ridge=1e-9, shifts=False).any()
    np.testing.assert_allclose(layer.weight.flatten(1).T, np.linalg.lstsq(read, aims, rcond=None)[0], atol=1e-4)

    given = layer(x).flatten(2)
    slopes = [np.linalg.lstsq(one[:, None], aim, rcond=None)[0][0] for one, aim in zip(
        given.transpose(0, 1).flatten(1).numpy(), aims.T, strict=True
    )]  # fmt: skip
    before = layer.weight.clone()
    assert not _rescale(layer, given, wanted, shifts=False).any()
    np.testing.assert_allclose((layer.weight / before).flatten(1).mean(1), slopes, rtol=1e-4)


class _Plain(nn.Module):
    """Three convolutions and their norms; each test chooses the first, what follows the second, and the head's bias."""

    def __init__(
        self, between: Callable[[int], list[nn.Module]], first: nn.Module, *, biased_head: bool = True
    ) -> None:
        super().__init__()
        self.first, self.norm = first, nn.BatchNorm2d(32)
        self.body = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, bias=False), *between(32), nn.ReLU())
        self.head = nn.Conv2d(32, 1, 3, padding=1, bias=biased_head)
        nn.init.uniform_(self.head.weight, 0.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.head(self.body(F.relu(self.norm(self.first(x))))), x.shape[2:])


def _trained(module: nn.Module, pictures: Tensor) -> Teacher:
    """A teacher whose norms store the pictures' statistics and whose channels repeat each other, as after training."""
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d) and layer.out_channels == 32:
                layer.weight[16:] = layer.weight[:16] * torch.linspace(0.2, 0.9, 16).view(-1, 1, 1, 1)
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None
        module.train()(pictures)
    module.eval().requires_grad_(False)
    return Teacher("small", module, InputSpec(Framing(*pictures.shape[2:])), digest="small", source="made for a test")


def _stem(kind: type[nn.Conv2d] = nn.Conv2d) -> nn.Conv2d:
    torch.manual_seed(0)
    return kind(3, 32, 3, stride=2, padding=1, bias=False)


def test_depth_keeps_its_scale_where_the_last_convolution_has_no_bias(pictures: Tensor) -> None:
    teacher = _trained(_Plain(lambda n: [nn.BatchNorm2d(n)], _stem(), biased_head=False), pictures)
    student = solved(slim(teacher, 0.5), teacher, pictures, 0.1)
    with torch.no_grad():
        depth, theirs = teacher.module(pictures), student(pictures)
    assert abs(float((theirs - depth).mean())) < 0.03 * float(depth.mean())


class _Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight / weight.std((1, 2, 3), keepdim=True), self.bias, self.stride, self.padding)


def _solved_layers(teacher: Teacher, pictures: Tensor) -> list[str]:
    """The convolutions whose weights are solved for; the student must come nearer to its teacher by that."""
    student = slim(teacher, 0.5)
    convolutions = {name: layer for name, layer in student.network.named_modules() if isinstance(layer, nn.Conv2d)}
    weights = {name: layer.weight.detach().clone() for name, layer in convolutions.items()}
    before = apart(student, teacher, pictures)
    solved(student, teacher, pictures, 0.1)
    assert apart(student, teacher, pictures) < before
    changed = [name for name, layer in convolutions.items() if not torch.equal(layer.weight, weights[name])]
    size = (pictures.shape[2], pictures.shape[3])
    assert solvable(slim(teacher, 0.5), teacher.module, size) == (len(changed), len(convolutions))
    return changed


def test_a_convolution_that_pads_by_itself_is_solved_for_and_one_of_other_weights_is_not(pictures: Tensor) -> None:
    padding, standardised = (
        _trained(_Plain(lambda n: [nn.BatchNorm2d(n)], _stem(kind)), pictures) for kind in (_PadsItself, _Standardised)
    )
    assert _solved_layers(padding, pictures) == ["first", "body.0", "head"]
    assert _solved_layers(standardised, pictures) == ["body.0", "head"]


class _Activated(nn.BatchNorm2d):
    """As all of timm's: its activation is part of it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(super().forward(x), 0.1)


class _OfOtherWeights(nn.BatchNorm2d):
    """As InPlaceABN: the weight that it scales by is not the one that it holds."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.weight is not None
        weight = self.weight.abs() + 0.1
        return F.batch_norm(x, self.running_mean, self.running_var, weight, self.bias, self.training)


def test_a_norm_with_an_activation_is_solved_for_and_one_of_other_weights_is_not(pictures: Tensor) -> None:
    activated, other = (
        _trained(_Plain(lambda n, kind=kind: [kind(n)], _stem()), pictures) for kind in (_Activated, _OfOtherWeights)
    )
    assert _solved_layers(activated, pictures) == ["first", "body.0", "head"]
    assert _solved_layers(other, pictures) == ["first", "head"]


def test_an_activation_in_place_before_a_norm_is_seen(pictures: Tensor) -> None:
    """The norm counts the channels; it stores statistics of the activation's output, which must not change."""
    network = _Plain(lambda n: [nn.ReLU(inplace=True), nn.BatchNorm2d(n)], _stem())
    teacher = _trained(network, pictures)
    norms = {layer.name: (layer.norm, layer.counted_by) for layer in layers_as_run(network, pictures[:1])}
    assert norms["first"] == (network.norm, network.norm)
    assert norms["body.0"] == (None, network.body[2])
    student = slim(teacher, 0.5)
    norm = student.network.get_submodule("body.2")
    stored, before = norm.running_mean.clone(), apart(student, teacher, pictures)
    solved(student, teacher, pictures, 0.1)
    assert torch.equal(norm.running_mean, stored)
    assert apart(student, teacher, pictures) < before


def test_a_norm_that_keeps_no_statistics_is_no_hindrance(pictures: Tensor) -> None:
    teacher = _trained(_Plain(lambda n: [nn.BatchNorm2d(n, track_running_stats=False)], _stem()), pictures)
    student = slim(teacher, 0.5)
    choose_channels(student, teacher, pictures.split(4))
    assert solvable(student, teacher.module, (pictures.shape[2], pictures.shape[3])) == (2, 3)
