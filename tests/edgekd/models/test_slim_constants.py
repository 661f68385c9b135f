"""Students cut out of teachers that write down what belongs to their channels: constants, shapes, groups."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cut_by_hand import assert_cut_as_by_hand, block, module_teacher, onnx_teacher
from onnx import helper
from torch import Tensor, nn

from calibration.errors import ModelError
from edgekd.models.batch_norm import batch_norm_layers
from edgekd.models.freeze import freeze
from edgekd.models.slim import Slim, choose_channels, slim
from edgekd.models.students import build_student
from edgekd.models.teacher import Teacher
from edgekd.models.to_onnx import export_onnx
from targets.input import Framing, InputSpec

VALUES = np.linspace(0.5, 1.5, 16, dtype=np.float32)


def _conv(weight: np.ndarray, **attributes: int) -> tuple[list, dict[str, np.ndarray]]:
    return [helper.make_node("Conv", ["a", "w"], ["b"], **attributes)], {"w": weight.astype(np.float32)}


def _squeeze(*to_vector: object) -> list:
    """The nodes of a squeeze-and-excitation, of which the graph writes down all shapes."""
    return [
        *to_vector,
        helper.make_node("Gemm", ["f", "down"], ["small"], transB=1),
        helper.make_node("Relu", ["small"], ["r"]),
        helper.make_node("MatMul", ["r", "up"], ["large"]),  # a linear layer without bias
        helper.make_node("Add", ["large", "offset"], ["g"]),
        helper.make_node("Sigmoid", ["g"], ["s"]),
        helper.make_node("Reshape", ["s", "map"], ["m"]),
        helper.make_node("Expand", ["m", "whole"], ["e"]),
        helper.make_node("Mul", ["a", "e"], ["b"]),
    ]


DRAW = np.random.default_rng(2)
SQUEEZE = {
    "flat": np.array([1, 16]), "map": np.array([1, 16, 1, 1]), "whole": np.array([1, 16, 12, 16]),
    "down": DRAW.normal(size=(8, 16)).astype(np.float32), "up": DRAW.normal(size=(8, 16)).astype(np.float32),
    "offset": VALUES,
}  # fmt: skip

IMPORTED = {
    "scale": ([helper.make_node("Mul", ["a", "k"], ["b"])], {"k": VALUES.reshape(1, 16, 1, 1)}),
    "scale without a batch": ([helper.make_node("Mul", ["k", "a"], ["b"])], {"k": VALUES.reshape(16, 1, 1)}),
    "offset": ([helper.make_node("Sub", ["a", "k"], ["b"])], {"k": VALUES.reshape(1, 16, 1, 1)}),
    "learned positions": (
        [helper.make_node("Add", ["a", "k"], ["b"])], {"k": DRAW.normal(size=(1, 16, 12, 16)).astype(np.float32)},
    ),
    "squeeze and excitation": (
        _squeeze(
            helper.make_node("GlobalAveragePool", ["a"], ["p"]), helper.make_node("Reshape", ["p", "flat"], ["f"])
        ), SQUEEZE,
    ),
    "channels last, as in ConvNeXt": (
        [
            helper.make_node("Transpose", ["a"], ["t"], perm=[0, 2, 3, 1]),
            helper.make_node("Mul", ["t", "gamma"], ["normed"]),
            helper.make_node("MatMul", ["normed", "up"], ["small"]),
            helper.make_node("Add", ["small", "bias"], ["biased"]),
            helper.make_node("Sigmoid", ["biased"], ["s"]),
            helper.make_node("MatMul", ["s", "down"], ["large"]),
            helper.make_node("Mul", ["gamma", "large"], ["scaled"]),
            helper.make_node("Transpose", ["scaled"], ["c_first"], perm=[0, 3, 1, 2]),
            helper.make_node("Add", ["a", "c_first"], ["b"]),
        ],
        {
            "up": DRAW.normal(size=(16, 8)).astype(np.float32), "bias": VALUES[:8],  # 8 are not cut
            "down": DRAW.normal(size=(8, 16)).astype(np.float32), "gamma": VALUES,
        },
    ),
    "gate that an equation states": (
        [
            helper.make_node("GlobalAveragePool", ["a"], ["p"]),
            helper.make_node("Reshape", ["p", "flat"], ["f"]),
            helper.make_node("Einsum", ["a", "f"], ["b"], equation="bchw,bc->bchw"),
        ],
        {"flat": SQUEEZE["flat"]},
    ),
    "squeeze and excitation of a mean": (
        _squeeze(helper.make_node("ReduceMean", ["a"], ["f"], axes=[2, 3], keepdims=0)), SQUEEZE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", IMPORTED)
def test_an_imported_network_that_writes_down_its_channels_is_cut(case: str, tmp_path: Path) -> None:
    teacher = onnx_teacher(*IMPORTED[case], tmp_path)
    student = build_student("slim-s", teacher)
    assert isinstance(student, Slim)
    assert [len(channels) for channels in student.kept.values()] == [8, 8]
    _assert_reads_only_what_is_kept(teacher, student)
    export_onnx(student, teacher.input, tmp_path / "student.onnx", metadata={})


GROUP_NORM = [
    helper.make_node("Reshape", ["a", "groups"], ["g"]),
    helper.make_node("InstanceNormalization", ["g", "ones", "zeros"], ["n"]),
    helper.make_node("Reshape", ["n", "map"], ["back"]),
    helper.make_node("Mul", ["back", "scale"], ["scaled"]),
    helper.make_node("Add", ["scaled", "offset"], ["b"]),
]


@pytest.mark.parametrize(("channels", "groups", "left"), [(16, 1, 8), (64, 2, 32), (16, 2, 8), (16, 16, 16)])
def test_an_imported_group_norm_keeps_its_groups(channels: int, groups: int, left: int, tmp_path: Path) -> None:
    """It loses as many channels of each, and none of groups that have one."""
    scale, offset = DRAW.normal(size=(2, channels, 1, 1)).astype(np.float32)
    constants = {
        "groups": np.array([0, groups, -1]), "map": np.array([1, channels, 12, 16]),
        "ones": np.ones(groups, np.float32), "zeros": np.zeros(groups, np.float32),
        "scale": scale, "offset": offset,
    }  # fmt: skip
    teacher = onnx_teacher(GROUP_NORM, constants, tmp_path, channels)
    student = build_student("slim-s", teacher)
    assert isinstance(student, Slim)
    kept = list(next(iter(student.kept.values())))
    assert len(kept) == left
    shares = np.bincount(np.array(kept) * groups // channels)
    assert shares.tolist() == [left // groups] * groups
    first, last = _around(student)
    seen: list[Tensor] = []
    first.register_forward_hook(lambda layer, given, out: seen.append(out))
    last.register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
    with torch.no_grad():
        student.eval()(torch.rand(2, 3, 12, 16, generator=torch.manual_seed(1)))
    expected = nn.functional.group_norm(seen[0].relu(), groups)
    expected = expected * torch.from_numpy(scale)[kept] + torch.from_numpy(offset)[kept]
    torch.testing.assert_close(seen[1], expected, rtol=1e-4, atol=1e-5)
    export_onnx(slim(teacher, 0.5), teacher.input, tmp_path / "student.onnx", metadata={})


class _Scale(nn.Module):
    def __init__(self, *shape: int, stored: bool = True) -> None:
        super().__init__()
        self.register_buffer("values", torch.linspace(0.5, 1.5, 32).view(shape), persistent=stored)


class _Gamma(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.linspace(0.5, 1.5, 32).view(shape))


class _FrozenNorm(nn.Module):
    """As that of detection backbones, whose statistics and weights are buffers."""

    def __init__(self) -> None:
        super().__init__()
        for number, name in enumerate(("weight", "bias", "running_mean", "running_var")):
            self.register_buffer(name, torch.linspace(0.5 + number, 1.5 + number, 32))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        offset = self.bias - self.running_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + offset.reshape(1, -1, 1, 1)


class _Blur(nn.Module):
    """Anti-aliased subsampling (Zhang, ICML 2019): a fixed depthwise filter, here with a width for each channel."""

    def __init__(self) -> None:
        super().__init__()
        outer = torch.tensor([1.0, 2.0, 1.0])
        kernels = outer[:, None] * outer / 16 * torch.linspace(0.5, 1.5, 32).view(32, 1, 1, 1)
        self.register_buffer("kernels", kernels)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(nn.functional.pad(x, [1] * 4), self.kernels, stride=2, groups=x.shape[1])


Between = Callable[[nn.ModuleList, Tensor, Tensor], Tensor]
MODULES: dict[str, tuple[Between, int, tuple[nn.Module, ...]]] = {
    "scale": (lambda blocks, x, _: x * blocks[0].values, 32, (_Scale(1, 32, 1, 1),)),
    "scale that weights files lack": (
        lambda blocks, x, _: x * blocks[0].values, 32, (_Scale(1, 32, 1, 1, stored=False),),
    ),
    "scale from the left": (lambda blocks, x, _: blocks[0].values * x, 32, (_Scale(32, 1, 1),)),
    "scale that gets its axes": (lambda blocks, x, _: x / blocks[0].values[:, None, None], 32, (_Scale(32),)),
    "scale used twice": (lambda blocks, x, _: (x * blocks[0].values - 1) * blocks[0].values, 32, (_Scale(32, 1, 1),)),
    "scale before a concatenation": (
        lambda blocks, x, _: torch.cat([blocks[1](x), x * blocks[0].values], 1), 48, (_Scale(32, 1, 1), block(32, 16)),
    ),
    "parameter": (lambda blocks, x, _: x * blocks[0].values, 32, (_Gamma(1, 32, 1, 1),)),
    "parameter before a concatenation": (
        lambda blocks, x, _: torch.cat([blocks[1](x), x * blocks[0].values], 1), 48, (_Gamma(32, 1, 1), block(32, 16)),
    ),
    "frozen norm": (lambda blocks, x, _: blocks[0](x), 32, (_FrozenNorm(),)),
    "blur": (lambda blocks, x, _: nn.functional.interpolate(blocks[0](x), scale_factor=2.0), 32, (_Blur(),)),
}  # fmt: skip


@pytest.mark.parametrize("case", MODULES)
def test_constants_are_cut_with_the_channels_that_they_belong_to(case: str) -> None:
    between, width, blocks = MODULES[case]
    teacher = module_teacher(between, width, *blocks)
    student = slim(teacher, 0.5)
    assert {len(channels) for channels in student.kept.values()} <= {8, 16}
    _assert_reads_only_what_is_kept(teacher, student)


@pytest.mark.parametrize("channels", [40, 152])
def test_the_weights_of_a_layer_norm_keep_the_order_of_their_channels(channels: int) -> None:
    """Of these widths a set of numbers is no longer sorted, which torch-pruning relies on."""

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.last = block(3, channels), nn.LayerNorm(channels), nn.Conv2d(channels, 1, 1)
            nn.init.uniform_(self.norm.weight, 0.5, 1.5)
            nn.init.normal_(self.norm.bias)

        def forward(self, x: Tensor) -> Tensor:
            depth: Tensor = self.last(self.norm(self.first(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)).exp()
            return depth

    torch.manual_seed(0)
    teacher = freeze(Teacher("normed", Normed(), InputSpec(Framing(16, 16)), digest="d", source="a test"))
    student = slim(teacher, 0.5)
    kept = list(student.kept["first.1"])
    assert 0 < len(kept) < channels
    for part in ("weight", "bias"):
        mine, theirs = (getattr(network.get_submodule("norm"), part) for network in (student.network, teacher.module))
        assert torch.equal(mine, theirs[kept])
    assert student.network.get_submodule("norm").weight.grad is None


@pytest.mark.parametrize("case", ["scale that weights files lack", "frozen norm"])
def test_a_student_filled_from_a_file_gets_the_constants_of_its_channels(case: str) -> None:
    between, width, blocks = MODULES[case]
    teacher = module_teacher(between, width, *blocks)
    pictures = [torch.rand(4, 3, 16, 16, generator=torch.manual_seed(2))]
    chosen, filled = slim(teacher, 0.5, pictures), slim(teacher, 0.5)
    assert chosen.kept != filled.kept
    filled.load_state_dict(chosen.state_dict())
    again = slim(teacher, 0.5)
    choose_channels(again, teacher, pictures)
    with torch.no_grad():
        expected = chosen.eval()(pictures[0])
        for student in (filled, again):
            assert torch.equal(student.eval()(pictures[0]), expected)


@pytest.mark.parametrize(
    "between",
    [
        lambda blocks, x, _: x * blocks[0].values.flip(0)[:, None, None],
        lambda blocks, x, _: x * blocks[0].values.softmax(0)[:, None, None],
        lambda blocks, x, _: torch.where(x > 1, x, blocks[0].values[:, None, None]),
    ],
    ids=["another order", "values that depend on all", "another function"],
)
def test_a_constant_that_cannot_be_followed_is_never_cut_wrongly(between: Between) -> None:
    with pytest.raises(ModelError, match=r"No student can be cut from parts"):
        slim(module_teacher(between, 32, _Scale(32)), 0.5)


def test_positions_of_a_map_are_no_channels() -> None:
    """16 columns and 16 channels that are left would fit each other."""

    class Columns(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("values", torch.linspace(0.5, 1.5, 16))

    teacher = module_teacher(lambda blocks, x, _: x * blocks[0].values, 32, Columns())
    student = slim(teacher, 0.5)
    _assert_reads_only_what_is_kept(teacher, student)


def _around(network: nn.Module) -> tuple[nn.BatchNorm2d, nn.Conv2d]:
    """The first BatchNorm and the convolution before the last, which reads what is between the two."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    return next(iter(batch_norm_layers(network).values())), layers[-2]


def _assert_reads_only_what_is_kept(teacher: Teacher, student: Slim) -> None:
    """As by hand, where the teacher's convolution behind what is tested does not read the first block's channels that
    were cut: an offset would make them differ from 0 again."""
    whole = copy.deepcopy(teacher.module)
    norm, reader = _around(whole)
    kept = next(iter(student.kept.values()))
    gone = [channel for channel in range(norm.num_features) if channel not in kept]
    before = reader.in_channels - norm.num_features  # channels concatenated before them
    with torch.no_grad():
        reader.weight[:, [before + channel for channel in gone]] = 0
    assert_cut_as_by_hand(replace(teacher, module=whole), student)
