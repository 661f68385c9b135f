"""Students cut out of their teacher."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from cut_by_hand import block, onnx_teacher
from onnx import helper
from torch import nn

from calibration.errors import ModelError
from edgekd.models.batch_norm import batch_norm_layers
from edgekd.models.freeze import freeze
from edgekd.models.slim import Slim, slim
from edgekd.models.students import build_student
from edgekd.models.teacher import Teacher
from edgekd.models.teachers import load_teacher
from edgekd.models.to_onnx import export_onnx
from targets.input import Framing, InputSpec
from targets.statistics import read_statistics


@pytest.fixture(scope="module")
def rooms() -> Teacher:
    return load_teacher("rooms")


@pytest.fixture(scope="module")
def half(rooms: Teacher) -> Slim:
    return slim(rooms, 0.5)


def test_every_filter_of_the_student_is_one_of_the_teachers(rooms: Teacher, half: Slim) -> None:
    mine, theirs = batch_norm_layers(half.network), batch_norm_layers(rooms.module)
    assert list(mine) == list(theirs)
    for name, layer in mine.items():
        kept = list(half.kept[name])
        assert len(kept) == layer.num_features < theirs[name].num_features or layer.num_features <= 8
        for part in ("weight", "bias", "running_mean", "running_var"):
            torch.testing.assert_close(getattr(layer, part).detach(), getattr(theirs[name], part)[kept])
    stem = half.network.get_submodule("stem.0").weight.detach()
    torch.testing.assert_close(stem, rooms.module.get_submodule("stem.0").weight[list(half.kept["stem.1"])])


def test_an_exported_student_knows_what_its_teacher_stored(rooms: Teacher, half: Slim, tmp_path: Path) -> None:
    """The student sees simulated pictures only, but int8 ranges must also fit the teacher's lost ones."""
    trained = copy.deepcopy(half)
    for layer in batch_norm_layers(trained.network).values():
        nn.init.constant_(layer.weight, 0.01)
        nn.init.zeros_(layer.bias)
    export_onnx(trained, rooms.input, tmp_path / "student.onnx", metadata={})
    exported = read_statistics(onnx.load(tmp_path / "student.onnx"))
    stem = rooms.module.get_submodule("stem.1")
    kept = list(half.kept["stem.1"])
    first = next(iter(exported.values()))
    np.testing.assert_allclose(first.mean, stem.bias[kept], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(first.deviation, stem.weight[kept].abs(), rtol=1e-3, atol=1e-4)
    assert len(exported) == len(half.kept)


def test_the_filters_with_the_largest_weights_stay(rooms: Teacher, half: Slim) -> None:
    """The stem feeds only the first stage and a skip: the norms of all three rank its group."""
    counts = sum(len(kept) for kept in half.kept.values())
    assert counts < 0.6 * sum(layer.num_features for layer in batch_norm_layers(rooms.module).values())
    merge = rooms.module.get_submodule("merges.3.refine.0").weight.flatten(1).norm(dim=1)
    kept = list(half.kept["merges.3.refine.1"])
    assert merge[kept].mean() > merge.mean()


def test_the_same_cut_gives_the_same_student_and_leaves_the_teacher_alone(rooms: Teacher, half: Slim) -> None:
    before = {name: value.clone() for name, value in rooms.module.state_dict().items()}
    again = build_student("slim-s", rooms, seed=7)
    assert isinstance(again, Slim) and again.kept == half.kept
    for name, value in half.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert all(torch.equal(before[name], value) for name, value in rooms.module.state_dict().items())
    assert not any(parameter.requires_grad for parameter in rooms.module.parameters())


@pytest.mark.parametrize(("name", "least", "most"), [("slim-s", 0.2, 0.3), ("slim-m", 0.3, 0.4), ("slim-l", 0.5, 0.6)])
def test_sizes_are_as_the_table_says(rooms: Teacher, name: str, least: float, most: float) -> None:
    def count(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    student = build_student(name, rooms)
    assert least < count(student) / count(rooms.module) < most
    with torch.no_grad():
        assert student.eval()(torch.rand(2, 3, 192, 256)).shape == (2, 1, 192, 256)


def test_its_statistics_move_even_where_the_teachers_do_not(rooms: Teacher) -> None:
    """An imported network's BatchNorm may have a momentum of 0: such a student would never learn its own statistics."""
    frozen = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16, momentum=0.0), nn.ReLU(), nn.Conv2d(16, 1, 1)
    )
    teacher = Teacher("frozen", frozen.eval(), InputSpec(Framing(16, 16)), digest="0", source="made for a test")
    student = slim(teacher, 0.5).train()
    mean = student.network[1].running_mean.clone()
    student(torch.rand(2, 3, 16, 16) + 5)
    assert not torch.equal(mean, student.network[1].running_mean)


def test_a_network_without_convolutions_is_refused() -> None:
    plain = nn.Sequential(nn.Unfold(1), nn.Flatten(2), nn.Unflatten(2, (16, 16)))
    teacher = Teacher("plain", plain, InputSpec(Framing(16, 16)), digest="0", source="made for a test")
    with pytest.raises(ModelError, match=r"neither BatchNorm nor a convolution.*mobile-m.*--no-transformation"):
        slim(teacher, 0.5)


class _Attending(nn.Module):
    """A convolution, and tokens that attend to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.attention = nn.Conv2d(3, 16, 4, 4), nn.MultiheadAttention(16, 2, batch_first=True)
        self.last = nn.Conv2d(16, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.first(x).flatten(2).transpose(1, 2)
        tokens = self.attention(tokens, tokens, tokens)[0].transpose(1, 2).unflatten(2, (4, 4))
        return nn.functional.interpolate(self.last(tokens), scale_factor=4).exp()


def test_a_transformer_is_refused_by_what_it_does() -> None:
    teacher = freeze(Teacher("vit", _Attending(), InputSpec(Framing(16, 16)), digest="0", source="made for a test"))
    with pytest.raises(
        ModelError, match=r"multi_head_attention_forward multiplies .* attention does\).*mobile-m.*--stat"
    ):
        slim(teacher, 0.5)


def test_an_imported_network_that_attends_is_refused_before_it_takes_all_time_and_memory(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["a", "flat"], ["v"]),
        helper.make_node("Transpose", ["v"], ["q"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "v"], ["scores"], name="scores"),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["v", "shares"], ["mixed"]),
        helper.make_node("Reshape", ["mixed", "map"], ["b"]),
    ]
    teacher = onnx_teacher(nodes, {"flat": np.array([0, 16, -1]), "map": np.array([0, 16, 12, 16])}, tmp_path)
    with pytest.raises(ModelError, match=r"No student can be cut from net \(its node scores multiplies.*mobile-m"):
        build_student("slim-l", teacher)


def test_two_tensors_that_meet_as_pictures_are_no_attention(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["a"], ["p"]),
        helper.make_node("Mul", ["a", "p"], ["b"]),
    ]
    student = build_student("slim-l", onnx_teacher(nodes, {}, tmp_path))
    assert student.eval()(torch.rand(2, 3, 12, 16)).shape == (2, 1, 12, 16)


def test_a_student_that_could_not_run_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Where", ["is_odd", "a", "other"], ["b"])]  # a constant that is not followed
    other = np.linspace(0.5, 1, 16, dtype=np.float32).reshape(1, 16, 1, 1)
    teacher = onnx_teacher(nodes, {"is_odd": np.arange(16).reshape(1, 16, 1, 1) % 2 == 1, "other": other}, tmp_path)
    with pytest.raises(ModelError, match=r"No student can be cut from net .*Pass --student mobile-m"):
        build_student("slim-l", teacher)


class _Supervised(nn.Module):
    """With a head that only runs in training and a scale that only evaluation has, as in BiSeNet and PSPNet."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.dropout = block(3, 16), nn.Dropout(0.5)
        self.last, self.auxiliary = nn.Conv2d(16, 1, 1), nn.Conv2d(16, 1, 1)

    def forward(self, x: torch.Tensor) -> Any:
        seen = self.block(x)
        depth = self.last(self.dropout(seen)).exp()
        return [depth, self.auxiliary(seen)] if self.training else 10 * depth


def test_a_student_learns_what_its_teacher_does_in_evaluation() -> None:
    teacher = Teacher("supervised", _Supervised().eval(), InputSpec(Framing(16, 16)), digest="0", source="a test")
    student = slim(freeze(teacher), 0.5)
    assert {len(channels) for channels in student.kept.values()} == {8}
    student.network.dropout.p = 0.0
    pictures = torch.rand(2, 3, 16, 16, generator=torch.manual_seed(0))
    student.train()
    assert student.network.dropout.training and student.network.block[1].training
    norm = student.network.block[1]
    norm.momentum = 1.0
    learning = student(pictures)  # BatchNorm normalises by the batch, and stores its statistics
    count = pictures.numel() / 3
    norm.running_var.mul_((count - 1) / count)  # torch stores the unbiased variance
    torch.testing.assert_close(learning, student.eval()(pictures))


def test_a_depth_that_is_counted_has_no_gradient_and_cannot_be_cut() -> None:
    """As in ordinal regression that counts the bins in front of each pixel: all layers would seem to lie beside it."""

    class Counted(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (super().forward(x) > 0).sum(1, keepdim=True).float()

    net = Counted(block(3, 16), nn.Conv2d(16, 8, 1))
    teacher = freeze(Teacher("counted", net, InputSpec(Framing(16, 16)), digest="0", source="made for a test"))
    with pytest.raises(ModelError, match=r"No student .* \(its depth has no gradient, as behind an argmax .*mobile-m"):
        slim(teacher, 0.5)


class _Pyramid(nn.Module):
    """Depth from the last of three heads; the others run beside it, as in Monodepth2."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
            for inputs in (3, 32, 32)
        )
        self.heads = nn.ModuleList(nn.Conv2d(32, outputs, 1) for outputs in (1, 4, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        given = []
        for layer, head in zip(self.blocks, self.heads, strict=True):
            x = layer(x)
            given.append(head(x))
        given[1].reshape(-1, 2, 2, *given[1].shape[2:])  # not read by anything, but it must run
        return given[-1].exp()


def test_heads_that_run_beside_the_depth_are_cut_with_what_they_read() -> None:
    teacher = freeze(Teacher("pyramid", _Pyramid(), InputSpec(Framing(16, 16)), digest="d", source="a test"))
    student = slim(teacher, 0.5)
    assert [len(channels) for channels in student.kept.values()] == [16, 16, 16, 4]
    heads = [student.network.get_submodule(f"heads.{name}") for name in ("0", "1.0", "2")]
    assert [(head.in_channels, head.out_channels) for head in heads] == [(16, 1), (16, 4), (16, 1)]


class _Bins(nn.Module):
    """Depth as the expectation over bins whose widths the picture decides (Bhat et al., AdaBins, CVPR 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.shares, self.widths = nn.Conv2d(32, 16, 1), nn.Linear(32, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.block(x)
        widths = self.widths(seen.mean((2, 3))).softmax(1)
        edges = nn.functional.pad(10 * widths, (1, 0)).cumsum(1)
        centres = (edges[:, :-1] + edges[:, 1:]) / 2
        return (self.shares(seen).softmax(1) * centres[:, :, None, None]).sum(1, keepdim=True)


class _EfficientAttention(nn.Module):
    """Gates from a convolution over the channels (Wang et al., ECA-Net, CVPR 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.then, self.last = block(3, 32), block(32, 32), nn.Conv2d(32, 1, 1)
        self.over_channels = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        gates = self.over_channels(x.mean((2, 3))[:, None]).sigmoid().view(len(x), -1, 1, 1)
        return self.last(self.then(x * gates.expand_as(x))).exp()


def test_channels_that_gate_each_other_in_their_order_are_cut() -> None:
    teacher = freeze(Teacher("eca", _EfficientAttention(), InputSpec(Framing(16, 16)), digest="d", source="a test"))
    student = slim(teacher, 0.5)
    assert [len(channels) for channels in student.kept.values()] == [16, 16]
    assert torch.equal(student.network.get_submodule("over_channels").weight, teacher.module.over_channels.weight)


def test_bins_keep_their_number_and_what_leads_to_them_is_cut() -> None:
    teacher = freeze(Teacher("bins", _Bins(), InputSpec(Framing(16, 16)), digest="d", source="a test"))
    student = slim(teacher, 0.5)
    assert [len(channels) for channels in student.kept.values()] == [16, 16]
    shares, widths = (student.network.get_submodule(name) for name in ("shares.0", "widths"))
    assert (shares.in_channels, shares.out_channels, widths.in_features, widths.out_features) == (16, 16, 16, 16)


def test_a_network_that_keeps_its_features_and_depths_is_cut_and_can_be_copied() -> None:
    """As Monodepth2's encoder and decoder do: what they keep has a gradient, and torch copies no such tensor."""

    class Keeping(_Pyramid):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.outputs = {("disp", 0): super().forward(x)}
            return self.outputs["disp", 0]

    teacher = freeze(Teacher("keeping", Keeping(), InputSpec(Framing(16, 16)), digest="d", source="a test"))
    student = slim(teacher, 0.5)
    assert [len(channels) for channels in student.kept.values()] == [16, 16, 16, 4]
    copy.deepcopy(student)


def test_what_works_in_place_or_without_gradients_where_it_does_not_learn_is_cut() -> None:
    class Finished(_Pyramid):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():  # a frozen encoder
                x = self.blocks[0](x)
            depth = torch.sigmoid(self.heads[2](self.blocks[2](self.blocks[1](x))))
            if not self.training:
                depth *= 10
                depth.clamp_(0.1, 8)
            return depth

    teacher = freeze(Teacher("finished", Finished(), InputSpec(Framing(16, 16)), digest="d", source="a test"))
    kept = slim(teacher, 0.5).kept
    assert len(kept["blocks.1.1"]) == 16 and len(kept["blocks.2.1"]) == 16
