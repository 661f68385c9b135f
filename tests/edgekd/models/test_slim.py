"""Students cut out of their teacher."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx_graphs import network, save
from torch import Tensor, nn

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


def test_a_network_without_batch_norm_is_refused() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))
    teacher = Teacher("plain", plain, InputSpec(Framing(16, 16)), digest="0", source="made for a test")
    with pytest.raises(ModelError, match=r"no BatchNorm layers.*mobile-m"):
        slim(teacher, 0.5)


def _conv_norm(name: str, source: str, size: int, channels: int, draw: np.random.Generator) -> tuple[list, dict]:
    """Conv, BatchNormalization and Relu from `source` to `name`."""
    shape = (channels, 3 if source == "x" else channels, size, size)
    constants = {
        f"{name}_w": draw.normal(size=shape),
        f"{name}_s": draw.uniform(0.5, 2, channels), f"{name}_b": np.ones(channels),
        f"{name}_m": draw.normal(size=channels), f"{name}_v": draw.uniform(0.5, 2, channels),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", [source, f"{name}_w"], [f"{name}_c"], pads=[size // 2] * 4),
        helper.make_node("BatchNormalization", [f"{name}_c", *list(constants)[1:]], [f"{name}_n"]),
        helper.make_node("Relu", [f"{name}_n"], [name]),
    ]
    return nodes, {key: value.astype(np.float32) for key, value in constants.items()}


def _teacher(between: list, constants: dict[str, np.ndarray], folder: Path) -> Teacher:
    """An ONNX file: a block from the picture to `a`, `between` from there to `b`, a block and one map."""
    draw = np.random.default_rng(0)
    first, second = _conv_norm("a", "x", 3, 16, draw), _conv_norm("c", "b", 3, 16, draw)
    last = helper.make_node("Conv", ["c", "last"], ["y"])
    constants = {
        "last": np.ones((1, 16, 1, 1), np.float32), **first[1], **second[1],
        **{name: np.asarray(value) for name, value in constants.items()},
    }  # fmt: skip
    return load_teacher(str(save(network([*first[0], *between, *second[0], last], constants), folder / "net.onnx")))


def test_an_imported_network_that_attends_is_refused_before_it_takes_all_time_and_memory(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["a", "flat"], ["v"]),
        helper.make_node("Transpose", ["v"], ["q"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "v"], ["scores"], name="scores"),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["v", "shares"], ["mixed"]),
        helper.make_node("Reshape", ["mixed", "map"], ["b"]),
    ]
    teacher = _teacher(nodes, {"flat": np.array([0, 16, -1]), "map": np.array([0, 16, 12, 16])}, tmp_path)
    with pytest.raises(ModelError, match=r"No student can be cut from net \(its node scores multiplies.*mobile-m"):
        build_student("slim-l", teacher)


def test_two_tensors_that_meet_as_pictures_are_no_attention(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["a"], ["p"]),
        helper.make_node("Mul", ["a", "p"], ["b"]),
    ]
    student = build_student("slim-l", _teacher(nodes, {}, tmp_path))
    assert student.eval()(torch.rand(2, 3, 12, 16)).shape == (2, 1, 12, 16)


STUBBORN = {
    "gate with a written shape": (
        [
            helper.make_node("GlobalAveragePool", ["a"], ["p"]),
            helper.make_node("Reshape", ["p", "flat"], ["f"]),
            helper.make_node("Gemm", ["f", "gate"], ["g"]),
            helper.make_node("Reshape", ["g", "map"], ["m"]),
            helper.make_node("Mul", ["a", "m"], ["b"]),
        ],
        {"flat": [1, 16], "map": [1, 16, 1, 1], "gate": np.eye(16, dtype=np.float32)},
    ),
    "scale of its channels": (
        [helper.make_node("Mul", ["a", "scale"], ["b"])],
        {"scale": np.linspace(0.5, 1, 16, dtype=np.float32).reshape(1, 16, 1, 1)},
    ),
}


@pytest.mark.parametrize("case", STUBBORN)
def test_a_student_that_could_not_run_is_refused(case: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"No student can be cut from net .*Pass --student mobile-m"):
        build_student("slim-l", _teacher(*STUBBORN[case], tmp_path))


def test_a_network_that_gives_something_else_in_training_is_refused() -> None:
    class Supervised(nn.Sequential):
        def forward(self, x: torch.Tensor) -> Any:
            depth = super().forward(x)
            return [depth, depth] if self.training else depth

    net = Supervised(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 1, 1))
    teacher = freeze(Teacher("supervised", net, InputSpec(Framing(16, 16)), digest="0", source="made for a test"))
    with pytest.raises(ModelError, match=r"No student .* \(ValueError: it outputs list in training mode\).*mobile-m"):
        slim(teacher, 0.5)


IMPORTED = {
    "channel shuffle": [
        helper.make_node("Reshape", ["a", "groups"], ["g"]),
        helper.make_node("Transpose", ["g"], ["t"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["t", "map"], ["b"]),
    ],
    "pixel shuffle, depth first": [
        helper.make_node("SpaceToDepth", ["a"], ["small"], blocksize=2),
        helper.make_node("DepthToSpace", ["small"], ["b"], blocksize=2, mode="DCR"),
    ],
}


@pytest.mark.parametrize("case", IMPORTED)
def test_what_an_imported_shuffle_reads_stays_whole(case: str, tmp_path: Path) -> None:
    teacher = _teacher(IMPORTED[case], {"groups": [1, 2, 8, 12, 16], "map": [1, 16, 12, 16]}, tmp_path)
    student = build_student("slim-s", teacher)
    assert isinstance(student, Slim)
    assert [len(channels) for channels in student.kept.values()] == [16, 8]
    _assert_cut_as_by_hand(teacher, student)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class _Between(nn.Module):
    """Blocks around `between`, which reads 32 channels; `blocks` are for it to use, and `width` is what it gives."""

    def __init__(
        self, between: Callable[[nn.ModuleList, Tensor, Tensor], Tensor], width: int, *blocks: nn.Module
    ) -> None:
        super().__init__()
        self.first, self.blocks, self.then = _block(3, 32), nn.ModuleList(blocks), _block(width, 32)
        self.last, self.between = nn.Conv2d(32, 1, 1), between

    def forward(self, x: Tensor) -> Tensor:
        depth: Tensor = self.last(self.then(self.between(self.blocks, self.first(x), x))).exp()
        return depth


def _taken_apart(blocks: nn.ModuleList, x: Tensor, _: Tensor) -> Tensor:
    """As in YOLO's and other cross-stage partial blocks."""
    one, other = blocks[0](x).chunk(2, 1)
    return torch.cat([one, other, blocks[1](other) + other], 1)


def _of_unlike_widths(blocks: nn.ModuleList, x: Tensor, _: Tensor) -> Tensor:
    narrow, wide = torch.split(x, [8, 24], 1)
    return torch.cat([blocks[0](wide), narrow], 1)


def _shuffled_by_hand(blocks: nn.ModuleList, x: Tensor, _: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return blocks[0](x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))


def _in_turn(blocks: nn.ModuleList, x: Tensor, _: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return x


def _enlarged(blocks: nn.ModuleList, x: Tensor, _: Tensor) -> Tensor:
    """As in a decoder that upsamples by a pixel shuffle before a skip connection."""
    large = nn.functional.pixel_shuffle(blocks[1](blocks[0](nn.functional.max_pool2d(x, 2))), 2)
    return torch.cat([large, x], 1)


PARTS = {
    "chunk": (_taken_apart, 96, (_block(32, 64), _block(32, 32)), [16, 64, 32, 16]),
    "split": (_of_unlike_widths, 40, (_block(24, 32),), [32, 16, 16]),
    "slice": (lambda blocks, x, _: torch.cat([blocks[0](x[:, :8]), x[:, 8:]], 1), 56, (_block(8, 32),), [32, 16, 16]),
    "channel shuffle": (_shuffled_by_hand, 32, (_block(32, 32),), [32, 16, 16]),
    "channels in another order": (
        lambda blocks, x, _: blocks[0](x[:, torch.arange(32).roll(5)]), 32, (_block(32, 32),), [32, 16, 16],
    ),
    "last channel first": (lambda blocks, x, _: blocks[0](x.flip(1)), 32, (_block(32, 32),), [32, 16, 16]),
    "a mirrored map": (lambda blocks, x, _: blocks[0](torch.flip(x, [3])), 32, (_block(32, 32),), [16, 16, 16]),
    "pixel shuffle": (_enlarged, 64, (_block(32, 64), _block(64, 128)), [16, 32, 128, 16]),
    "pixel unshuffle": (
        lambda blocks, x, _: nn.PixelShuffle(2)(blocks[0](nn.PixelUnshuffle(2)(x))), 32, (_block(128, 128),),
        [32, 128, 16],
    ),
    "zeros for channels that are missing": (
        lambda blocks, x, _: blocks[0](x) + nn.functional.pad(x, (0, 0, 0, 0, 16, 16)), 64, (_block(32, 64),),
        [32, 64, 16],
    ),
    "the picture first": (lambda blocks, x, picture: torch.cat([picture, x], 1), 35, (), [16, 16]),
    "the mean of the channels first": (lambda blocks, x, _: torch.cat([x.mean(1, True), x], 1), 33, (), [32, 16]),
    "depthwise with two filters a channel": (
        _in_turn, 32, (nn.Conv2d(32, 64, 3, 1, 1, groups=32), nn.BatchNorm2d(64), _block(64, 32)), [32, 64, 16, 16],
    ),
    "transposed in groups": (
        _in_turn, 64, (nn.MaxPool2d(2), nn.ConvTranspose2d(32, 64, 2, 2, groups=4), nn.BatchNorm2d(64)), [32, 64, 16],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PARTS)
def test_where_channels_are_taken_apart_they_stay_and_the_others_are_cut(case: str) -> None:
    between, width, blocks, expected = PARTS[case]
    net = _Between(between, width, *copy.deepcopy(blocks))
    torch.manual_seed(0)
    for layer in batch_norm_layers(net).values():
        nn.init.uniform_(layer.weight, 0.5, 1.5)
        nn.init.normal_(layer.bias)
    teacher = freeze(Teacher("parts", net, InputSpec(Framing(16, 16)), digest="d", source="a test"))
    student = slim(teacher, 0.5)
    assert [len(channels) for channels in student.kept.values()] == expected
    _assert_cut_as_by_hand(teacher, student)


def _assert_cut_as_by_hand(teacher: Teacher, student: Slim) -> None:
    """A student must give what its teacher gives whose other channels are set to 0 behind each BatchNorm."""
    whole = copy.deepcopy(teacher.module)
    for name, kept in student.kept.items():
        layer = whole.get_submodule(name)
        mask = torch.zeros(layer.num_features, 1, 1)
        mask[list(kept)] = 1
        layer.register_forward_hook(lambda layer, given, out, mask=mask: out * mask)
    pictures = torch.randn(2, 3, teacher.input.height, teacher.input.width, generator=torch.manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(student.eval()(pictures), whole(pictures), rtol=1e-3, atol=1e-4)


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
        for block, head in zip(self.blocks, self.heads, strict=True):
            x = block(x)
            given.append(head(x))
        given[1].reshape(-1, 2, 2, *given[1].shape[2:])  # not read by anything, but it must run
        return given[-1].exp()


def test_heads_that_run_beside_the_depth_are_cut_with_what_they_read() -> None:
    teacher = freeze(Teacher("pyramid", _Pyramid(), InputSpec(Framing(16, 16)), digest="d", source="a test"))
    student = slim(teacher, 0.5)
    assert {len(channels) for channels in student.kept.values()} == {16}
    heads = student.network.get_submodule("heads")
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


def test_bins_keep_their_number_and_what_leads_to_them_is_cut() -> None:
    teacher = freeze(Teacher("bins", _Bins(), InputSpec(Framing(16, 16)), digest="d", source="a test"))
    student = slim(teacher, 0.5)
    assert [len(channels) for channels in student.kept.values()] == [16]
    shares, widths = (student.network.get_submodule(name) for name in ("shares", "widths"))
    assert (shares.in_channels, shares.out_channels, widths.in_features, widths.out_features) == (16, 16, 16, 16)


def test_a_network_that_keeps_its_features_and_depths_is_cut_and_can_be_copied() -> None:
    """As Monodepth2's encoder and decoder do: what they keep has a gradient, and torch copies no such tensor."""

    class Keeping(_Pyramid):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.outputs = {("disp", 0): super().forward(x)}
            return self.outputs["disp", 0]

    teacher = freeze(Teacher("keeping", Keeping(), InputSpec(Framing(16, 16)), digest="d", source="a test"))
    student = slim(teacher, 0.5)
    assert {len(channels) for channels in student.kept.values()} == {16}
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
