"""Comparing the student's features with the teacher's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from calibration.errors import ModelError
from edgekd.distill.feature_pairs import Pair, encoder_pairs, pairs_of
from edgekd.distill.features import FeatureMatch
from edgekd.models.architectures import architecture
from edgekd.models.pictures import NormalisePictures, probe_pictures
from edgekd.models.slim import slim
from edgekd.models.teacher import Teacher


def test_a_student_cut_out_of_its_teacher_is_compared_channel_by_channel(rooms: Teacher) -> None:
    """By hand: the squared difference of each BatchNorm output in units of its squared weight."""
    student = slim(rooms, 0.5)
    pairs = pairs_of(student, rooms.module, (192, 256))
    assert len(pairs) == len(student.kept)
    match = FeatureMatch(pairs, rooms.module)
    match.watch_student(student)
    match.watch_teacher(rooms.module)
    seen: dict[str, torch.Tensor] = {}

    def look(key: str) -> Callable[..., None]:
        return lambda layer, inputs, output: seen.__setitem__(key, output.detach().clone())  # ReLU is in place

    handles = []
    for network, side in ((student, "student"), (rooms.module, "teacher")):
        for name, layer in network.named_modules():
            if isinstance(layer, nn.BatchNorm2d):
                handles.append(layer.register_forward_hook(look(f"{side} {name.removeprefix('network.')}")))
    x = torch.rand(2, 3, 192, 256, generator=torch.Generator().manual_seed(0))
    rooms.module(x)
    student.eval()(x)
    apart = []
    for name, kept in student.kept.items():
        spread = rooms.module.get_submodule(name).weight.square()
        spread = (spread + spread.mean() / 100)[list(kept)].view(1, -1, 1, 1)
        difference = seen[f"student {name}"] - seen[f"teacher {name}"][:, list(kept)]
        apart.append((difference.square() / spread).mean())
    torch.testing.assert_close(match().detach(), torch.stack(apart).mean())
    match.release()
    for handle in handles:
        handle.remove()


def standardised(features: torch.Tensor) -> torch.Tensor:
    variance, mean = torch.var_mean(features, (0, 2, 3), correction=0, keepdim=True)
    return (features - mean) / (variance + variance.mean() / 100).sqrt()


def test_any_other_student_is_compared_at_every_resolution_both_have(rooms: Teacher) -> None:
    student = architecture("mobile-s").start(rooms.input)
    pairs = encoder_pairs(student, rooms.module, (192, 256))
    assert [pair.widths for pair in pairs] == [(16, 16), (16, 32), (128, 56), (192, 96), (48, 96)]
    assert student.training
    match = FeatureMatch(pairs, rooms.module)
    match.watch_student(student)
    match.watch_teacher(rooms.module)

    def compared(features: torch.Tensor) -> torch.Tensor:
        return features[..., ::2, ::2] if features.shape[-1] >= 24 else features

    seen: dict[str, torch.Tensor] = {}
    handles = [
        network.get_submodule(name).register_forward_pre_hook(
            lambda layer, inputs, name=f"{side} {name}": seen.__setitem__(name, compared(inputs[0].detach().double()))
        )
        for pair in pairs
        for network, side, name in ((student, "student", pair.student), (rooms.module, "teacher", pair.teacher))
    ]
    x = torch.rand(2, 3, 192, 256)
    rooms.module(x)
    student(x)
    apart = []
    for pair, projection in zip(pairs, match.projections, strict=True):
        mine = nn.functional.conv2d(
            seen[f"student {pair.student}"], projection.weight.double(), projection.bias.double()
        )
        theirs = seen[f"teacher {pair.teacher}"]
        apart.append((mine - standardised(theirs)).square().mean())
    value = match()
    torch.testing.assert_close(value.double(), torch.stack(apart).mean(), rtol=1e-5, atol=0)
    value.backward()
    for handle in handles:
        handle.remove()
    assert all(parameter.grad is not None for parameter in match.parameters())
    assert student.stem[0].weight.grad is not None and student.stem[0].weight.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in rooms.module.parameters())
    match.release()
    rooms.module(x)
    assert not match._runs  # nothing is kept of a network that is not watched


class _InAnotherUnit(nn.Module):
    """A teacher that gives the same depth while its features are `unit` times as large."""

    def __init__(self, unit: float) -> None:
        super().__init__()
        self.unit = unit
        generator = torch.Generator().manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1, stride=2), nn.Conv2d(6, 1, 3, padding=1, stride=2)
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.unit * self.first(x).relu()) / self.unit


@pytest.mark.parametrize("unit", [1e-2, 1e2])
def test_the_unit_of_a_teachers_features_does_not_matter(unit: float) -> None:
    """FastDepth's features are a hundredth of those of other networks."""
    x = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(1))
    found = []
    for teacher in (_InAnotherUnit(1.0), _InAnotherUnit(unit)):
        student = _InAnotherUnit(1.0)
        match = FeatureMatch([Pair("second", "second", (6, 6))], teacher)
        match.watch_student(student)
        match.watch_teacher(teacher)
        teacher(x)
        student(x)
        apart = match()
        apart.backward()
        assert student.first.weight.grad is not None
        found.append((apart.detach(), student.first.weight.grad))
        assert apart < 3, "a projection that has learned nothing yet is further away than one that gives nothing"
    torch.testing.assert_close(found[0], found[1], rtol=2e-3, atol=1e-5)


def test_nor_does_it_where_the_student_is_cut_out_of_it(rooms: Teacher) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.Conv2d(32, 1, 1))
    norms = [network.get_submodule("1")]
    nn.init.uniform_(norms[0].weight, 0.1, 1.0)
    teacher = replace(rooms, module=network.eval().requires_grad_(False))
    student, x = slim(teacher, 0.5), torch.rand(2, 3, 24, 32)
    student.train()  # uses the batch's own statistics, so it differs from its teacher
    norms.append(student.get_submodule("network.1"))
    apart = []
    for unit in (1.0, 1e-2, 1e2):
        for norm in norms:
            norm.weight.data *= unit
        match = FeatureMatch(pairs_of(student, teacher.module, (24, 32)), teacher.module)
        match.watch_teacher(teacher.module)
        match.watch_student(student)
        teacher.module(x)
        student(x)
        apart.append(match().detach())
        match.release()
        for norm in norms:
            norm.weight.data /= unit
    assert apart[0] > 0.01
    torch.testing.assert_close(torch.stack(apart), apart[0].expand(3), rtol=1e-4, atol=0)


def test_features_pull_a_student_towards_its_teacher(rooms: Teacher) -> None:
    student = slim(rooms, 0.4).train()
    match = FeatureMatch(pairs_of(student, rooms.module, (192, 256)), rooms.module)
    match.watch_student(student)
    match.watch_teacher(rooms.module)
    x = NormalisePictures(rooms.input)(torch.from_numpy(probe_pictures(192, 256, 4)))
    optimiser = torch.optim.Adam(student.parameters(), lr=1e-3)
    distances = []
    for _ in range(20):
        rooms.module(x)
        student(x)
        apart = match()
        optimiser.zero_grad()
        apart.backward()
        optimiser.step()
        distances.append(apart.item())
    match.release()
    assert distances[-1] < 0.7 * distances[0]


@pytest.mark.parametrize("cut_out", [False, True])
def test_features_seen_in_half_precision_are_compared_in_float32(rooms: Teacher, cut_out: bool) -> None:
    """As on a GPU, where both networks run under autocast."""
    student = slim(rooms, 0.5).train() if cut_out else architecture("mobile-s").start(rooms.input)
    match = FeatureMatch(pairs_of(student, rooms.module, (192, 256)), rooms.module)
    match.watch_student(student)
    match.watch_teacher(rooms.module)
    x = torch.rand(2, 3, 192, 256, generator=torch.Generator().manual_seed(0))
    apart = []
    for half in (True, False):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            rooms.module(x)
            student(x)
        apart.append(match())
        apart[-1].backward()
    match.release()
    assert apart[0].dtype == torch.float32
    torch.testing.assert_close(apart[0], apart[1], rtol=0.02, atol=0)


def test_a_student_that_is_only_looked_at_is_not_compared(rooms: Teacher) -> None:
    """For a preview, or to find the order of its layers, it runs without its teacher."""
    student = slim(rooms, 0.5)
    match = FeatureMatch(pairs_of(student, rooms.module, (192, 256)), rooms.module)
    match.watch_student(student)
    with torch.no_grad():
        depth = student.eval()(torch.rand(1, 3, 192, 256))
    match.release()
    assert depth.shape == (1, 1, 192, 256)


def test_a_layer_that_runs_twice_is_compared_each_time(rooms: Teacher) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
            self.norm, self.depth = nn.BatchNorm2d(32), nn.Conv2d(32, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu_(self.norm(self.first(x)))
            depth: torch.Tensor = self.depth(torch.relu_(self.norm(self.second(x))))
            return depth

    teacher = replace(rooms, module=Twice().eval().requires_grad_(False))
    student = slim(teacher, 0.5)
    channels = list(student.kept["norm"])
    match = FeatureMatch(pairs_of(student, teacher.module, (192, 256)), teacher.module)
    match.watch_teacher(teacher.module)
    match.watch_student(student)
    x = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    teacher.module(x + 1)
    match.forget()  # drops the earlier batch
    for part in x.split(1):  # the teacher may see the batch in parts
        teacher.module(part)
    student.eval()(x)
    apart = match().detach()
    match.release()

    def outputs(network: nn.Module) -> list[torch.Tensor]:
        seen: list[torch.Tensor] = []
        handle = network.get_submodule("norm").register_forward_hook(
            lambda *call: seen.append(call[2].detach().clone())
        )
        network(x)
        handle.remove()
        return seen

    both = zip(outputs(student.network), outputs(teacher.module), strict=True)
    wanted = [(mine - theirs[:, channels]).square().mean() / (1 + 1e-2) for mine, theirs in both]
    assert len(wanted) == 2
    torch.testing.assert_close(apart, torch.stack(wanted).mean())


def test_projections_start_from_the_seed_alone(rooms: Teacher) -> None:
    pairs = (Pair("student", "teacher", (4, 6)),)
    weights = []
    for seed, before in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(before)
        weights.append(FeatureMatch(pairs, rooms.module, seed).projections[0].weight)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


class _Pools(nn.Module):
    """One pooling layer for every resolution, as in many networks; a second pass sees the picture mirrored."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.pool, self.layers = nn.MaxPool2d(2), nn.ModuleList()
        for inputs, outputs in zip((3, *widths), widths, strict=False):
            self.layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for turned in (x, x.flip(3)):
            features = turned
            for layer in self.layers:
                features = self.pool(layer(features))
        return features


def test_a_layer_that_leaves_several_resolutions_is_compared_at_each() -> None:
    student, teacher = _Pools((4, 6, 8)), _Pools((5, 7, 9)).requires_grad_(False)
    pairs = encoder_pairs(student, teacher, (48, 64))
    assert [(pair.student, pair.at, pair.widths) for pair in pairs] == [
        ("pool", (24, 32), (6, 7)),
        ("pool", (12, 16), (8, 9)),
    ]
    match = FeatureMatch(pairs, teacher)
    match.watch_teacher(teacher)
    match.watch_student(student)
    x = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    teacher(x)
    student(x)
    value = match()
    match.release()
    apart = []
    mine, theirs = x, x
    for index, layers in enumerate(zip(student.layers, teacher.layers, strict=True)):
        mine, theirs = (layer(features) for layer, features in zip(layers, (mine, theirs), strict=True))
        if index:
            projected, wanted = match.projections[index - 1](mine), theirs
            if mine.shape[-1] >= 24:
                projected, wanted = projected[..., ::2, ::2], wanted[..., ::2, ::2]
            apart.append((projected - standardised(wanted)).square().mean())
        mine, theirs = student.pool(mine), teacher.pool(theirs)
    torch.testing.assert_close(value, torch.stack(apart).mean())


class _Activated(nn.BatchNorm2d):
    """BatchNorm and an activation in one class, as timm's BatchNormAct2d is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(super().forward(x))


def test_a_norm_that_does_more_is_compared_after_it(rooms: Teacher) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), _Activated(32), nn.Conv2d(32, 1, 1))
    teacher = replace(rooms, module=network.eval().requires_grad_(False))
    student, x = slim(teacher, 0.5), torch.rand(2, 3, 24, 32)
    match = FeatureMatch(pairs_of(student, teacher.module, (24, 32)), teacher.module)
    match.watch_teacher(teacher.module)
    match.watch_student(student)
    teacher.module(x)
    student(x)
    value = match()
    value.backward()
    match.release()
    weight = student.network[0].weight
    gradient, weight.grad = weight.grad, None
    theirs = teacher.module[:2](x)[:, list(student.kept["1"])]
    wanted = (student.network[:2](x) - theirs).square().mean() / (1 + 1e-2)
    wanted.backward()
    torch.testing.assert_close(value, wanted)
    torch.testing.assert_close(gradient, weight.grad)


@pytest.mark.parametrize("weight", [0.0, 1e-7])
def test_a_layer_that_was_trained_to_give_nothing_has_no_unit(teacher: Teacher, weight: float) -> None:
    """The last BatchNorm of a residual branch may end at 0: divided by 0, its least change would drown the others."""
    layer = teacher.module.second[1]
    nn.init.constant_(layer.weight, weight)
    student = copy.deepcopy(teacher.module).train().requires_grad_(True)
    pairs = [Pair(name, name, (8, 8), tuple(range(8))) for name in ("first.1", "second.1")]
    match = FeatureMatch(pairs, teacher.module)
    match.watch_student(student)
    match.watch_teacher(teacher.module)
    x = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        student.second[1].weight.add_(1e-3)  # as one step of Adam does
    teacher.module(x)
    student.eval()(x)
    assert match().item() == 0.0


@pytest.mark.filterwarnings("ignore:.*autocast:FutureWarning")  # torch 2.4 uses what it deprecates
@pytest.mark.parametrize("reentrant", [False, True])
def test_parts_that_are_computed_again_backwards_are_compared_once(teacher: Teacher, reentrant: bool) -> None:
    """As in networks trained with little memory. Training the student reruns only the student's parts."""

    class Net(nn.Module):
        def __init__(self, again: bool) -> None:
            super().__init__()
            self.network, self.again = copy.deepcopy(teacher.module), again

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.network.first(x)
            if self.again and y.requires_grad:
                y = checkpoint(self.network.second, y, use_reentrant=reentrant)
            else:
                y = self.network.second(y)
            return nn.functional.interpolate((self.network.head(y) + 0.5).exp(), scale_factor=2.0)

    def gradients(again: bool) -> list[torch.Tensor]:
        taught = replace(teacher, module=Net(again).eval().requires_grad_(False))
        x = torch.rand(4, 3, 32, 48, generator=torch.Generator().manual_seed(0)).requires_grad_()
        student = slim(taught, 0.5).eval()
        match = FeatureMatch(pairs_of(student, taught.module, (32, 48)), taught.module)
        match.watch_teacher(taught.module)
        match.watch_student(student)
        for _ in range(2):
            taught.module(x).sum().backward()  # as an update of the transformation does
            student(x)
            apart = match()
            student.zero_grad()
            apart.backward()
        match.release()
        return [apart.detach(), *(parameter.grad for parameter in student.parameters() if parameter.grad is not None)]

    if reentrant:
        with pytest.raises(ModelError, match=r"network\.network\.second\.1 without gradients.*use_reentrant=False"):
            gradients(True)
    else:
        torch.testing.assert_close(gradients(True), gradients(False))
