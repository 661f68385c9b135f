"""Students cut out of teachers that take channels apart or arrange them anew."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cut_by_hand import assert_cut_as_by_hand, block, module_teacher, onnx_teacher
from onnx import helper
from torch import Tensor, nn

from edgekd.models.slim import Slim, slim
from edgekd.models.students import build_student

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
    teacher = onnx_teacher(IMPORTED[case], {"groups": [1, 2, 8, 12, 16], "map": [1, 16, 12, 16]}, tmp_path)
    student = build_student("slim-s", teacher)
    assert isinstance(student, Slim)
    assert [len(channels) for channels in student.kept.values()] == [16, 8]
    assert_cut_as_by_hand(teacher, student)


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
    for layer in blocks:
        x = layer(x)
    return x


def _enlarged(blocks: nn.ModuleList, x: Tensor, _: Tensor) -> Tensor:
    """As in a decoder that upsamples by a pixel shuffle before a skip connection."""
    large = nn.functional.pixel_shuffle(blocks[1](blocks[0](nn.functional.max_pool2d(x, 2))), 2)
    return torch.cat([large, x], 1)


def _written(x: Tensor) -> Tensor:
    volume = torch.zeros(len(x), 2, *x.shape[2:])
    for channel in range(2):
        volume[:, channel] = x.mean(1) * (channel + 1)
    return volume


def _depthwise(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False), nn.BatchNorm2d(channels))


PARTS = {
    "chunk": (_taken_apart, 96, (block(32, 64), block(32, 32)), [16, 64, 32, 16]),
    "split": (_of_unlike_widths, 40, (block(24, 32),), [32, 16, 16]),
    "slice": (lambda blocks, x, _: torch.cat([blocks[0](x[:, :8]), x[:, 8:]], 1), 56, (block(8, 32),), [32, 16, 16]),
    "channel shuffle": (_shuffled_by_hand, 32, (block(32, 32),), [32, 16, 16]),
    "channels in another order": (
        lambda blocks, x, _: blocks[0](x[:, torch.arange(32).roll(5)]), 32, (block(32, 32),), [32, 16, 16],
    ),
    "last channel first": (lambda blocks, x, _: blocks[0](x.flip(1)), 32, (block(32, 32),), [32, 16, 16]),
    "a mirrored map": (lambda blocks, x, _: blocks[0](torch.flip(x, [3])), 32, (block(32, 32),), [16, 16, 16]),
    "pixel shuffle": (_enlarged, 64, (block(32, 64), block(64, 128)), [16, 32, 128, 16]),
    "pixel unshuffle": (
        lambda blocks, x, _: nn.PixelShuffle(2)(blocks[0](nn.PixelUnshuffle(2)(x))), 32, (block(128, 128),),
        [32, 128, 16],
    ),
    "zeros for channels that are missing": (
        lambda blocks, x, _: blocks[0](x) + nn.functional.pad(x, (0, 0, 0, 0, 16, 16)), 64, (block(32, 64),),
        [32, 64, 16],
    ),
    "the picture first": (lambda blocks, x, picture: torch.cat([picture, x], 1), 35, (), [16, 16]),
    "the mean of the channels first": (lambda blocks, x, _: torch.cat([x.mean(1, True), x], 1), 33, (), [32, 16]),
    "the greatest of the channels first, three times": (
        lambda blocks, x, _: torch.cat([x.amax(1, True).expand(-1, 3, -1, -1), x], 1), 35, (), [32, 16],
    ),
    "a stack first, as of correlations": (
        lambda blocks, x, _: torch.cat([torch.stack([x.mean(1), x[:, 3]], 1), blocks[0](x)], 1), 34, (block(32, 32),),
        [32, 16, 16],
    ),
    "channels written one by one first": (
        lambda blocks, x, _: torch.cat([_written(x), blocks[0](x)], 1), 34, (block(32, 32),), [32, 16, 16],
    ),
    "a map without channels first, for features that an encoder lacks": (
        lambda blocks, x, _: torch.cat([x.new_empty(len(x), 0, *x.shape[2:]), blocks[0](x)], 1), 32,
        (block(32, 32),), [16, 16, 16],
    ),
    "depthwise of copies, as in GhostNet": (
        lambda blocks, x, _: blocks[1](torch.cat([x, blocks[0](x)], 1)), 64, (_depthwise(32), _depthwise(64)),
        [16, 16, 32, 16],
    ),
    "depthwise of concatenated maps": (
        lambda blocks, x, _: blocks[1](torch.cat([x, blocks[0](x)], 1)), 48, (block(32, 16), _depthwise(48)),
        [16, 8, 24, 16],
    ),
    "depthwise with two filters a channel": (
        _in_turn, 32, (nn.Conv2d(32, 64, 3, 1, 1, groups=32), nn.BatchNorm2d(64), block(64, 32)), [32, 64, 16, 16],
    ),
    "in groups, as in ResNeXt": (
        _in_turn, 32, (nn.Conv2d(32, 32, 3, 1, 1, groups=8), nn.BatchNorm2d(32), nn.ReLU()), [16, 16, 16],
    ),
    "in three groups, as in RegNet": (
        _in_turn, 48, (block(32, 48), nn.Conv2d(48, 48, 3, 1, 1, groups=3), nn.BatchNorm2d(48)), [16, 24, 24, 16],
    ),
    "in groups of one width in and another out": (
        _in_turn, 64, (nn.Conv2d(32, 64, 3, 1, 1, groups=4), nn.BatchNorm2d(64)), [16, 32, 16],
    ),
    "gate of one channel": (
        lambda blocks, x, _: x * torch.sigmoid(blocks[0](x)), 32, (nn.Conv2d(32, 1, 1),), [16, 16],
    ),
    "gate that is spread": (
        lambda blocks, x, _: torch.sigmoid(blocks[0](x)).expand_as(x) * x, 32, (nn.Conv2d(32, 1, 1),), [16, 16],
    ),
    "gate of another map": (
        lambda blocks, x, _: blocks[1](x) * torch.sigmoid(blocks[0](x) + 1).clamp_min(0.1), 32,
        (nn.Conv2d(32, 1, 1), block(32, 32)), [16, 16, 16],
    ),
    "one slope for all channels": (
        lambda blocks, x, _: torch.cat([blocks[0](-x), blocks[1](x)], 1), 64, (nn.PReLU(), block(32, 32)),
        [16, 16, 16],
    ),
    "pixels repeated": (
        lambda blocks, x, _: torch.repeat_interleave(blocks[0](x)[..., ::2, ::2].repeat(1, 1, 1, 2), 2, 2), 32,
        (block(32, 32),), [16, 16, 16],
    ),
    "transposed in groups": (
        _in_turn, 64, (nn.MaxPool2d(2), nn.ConvTranspose2d(32, 64, 2, 2, groups=4), nn.BatchNorm2d(64)), [32, 64, 16],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PARTS)
def test_where_channels_are_taken_apart_they_stay_and_the_others_are_cut(case: str) -> None:
    between, width, blocks, expected = PARTS[case]
    teacher = module_teacher(between, width, *blocks)
    student = slim(teacher, 0.5)
    assert [len(channels) for channels in student.kept.values()] == expected
    assert_cut_as_by_hand(teacher, student)
