"""Operations that rearrange values without changing them, for batches of any size."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.models.onnx_import.arithmetic import WithConstants, constants_of
from edgekd.models.onnx_import.op import Function, Op

__all__ = [
    "Reshape", "batch_after", "concat", "depth_to_space", "expand", "flatten", "gather", "pad", "reshape",
    "slice_", "space_to_depth", "split", "squeeze", "squeezes_batch", "tile", "transpose", "unsqueeze",
]  # fmt: skip


class _Concat(WithConstants):
    def __init__(self, axis: int, constants: dict[int, Tensor], count: int) -> None:
        super().__init__(constants, count)
        self.axis, self.repeated = axis, tuple(constants)  # the latter once for each picture of a batch

    def forward(self, *tensors: Tensor) -> Tensor:
        parts = self.operands(tensors)
        for position in self.repeated:
            parts[position] = parts[position].expand(tensors[0].shape[0], *parts[position].shape[1:])
        return torch.cat(parts, self.axis)


class Reshape(nn.Module):
    """Keeps the batch axis and reshapes the rest; with `whole_channels`, a cut network's channels stay as many."""

    def __init__(self, rest: tuple[int, ...], whole_channels: bool) -> None:
        super().__init__()
        self.rest, self.whole_channels = rest, whole_channels

    def forward(self, x: Tensor) -> Tensor:
        if self.whole_channels:
            return x.reshape(*x.shape[:2], *self.rest[1:])
        return x.reshape(x.shape[0], *self.rest)


class _Slice(nn.Module):
    """Slices along each axis; axes in `backwards` are reversed."""

    def __init__(self, slices: tuple[slice, ...], backwards: tuple[int, ...]) -> None:
        super().__init__()
        self.slices, self.backwards = slices, backwards

    def forward(self, x: Tensor) -> Tensor:
        taken = x[self.slices]
        return taken.flip(self.backwards) if self.backwards else taken


class _Gather(nn.Module):
    indices: Tensor

    def __init__(self, axis: int, indices: Tensor) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("indices", indices)

    def forward(self, x: Tensor) -> Tensor:
        picked = x.index_select(self.axis, self.indices.reshape(-1))
        return picked.reshape(*x.shape[: self.axis], *self.indices.shape, *x.shape[self.axis + 1 :])


def concat(op: Op) -> nn.Module:
    axis = int(op.attributes["axis"]) % len(op.data.shape)
    if axis == op.batch:
        raise op.refusal("concatenates along the batch")
    return _Concat(axis, constants_of(op), len(op.operands))


def expand(op: Op) -> nn.Module:
    target, before = op.integers(1, "shape"), op.data.shape
    if target is None:
        raise op.refusal("states no shape")
    try:
        after = np.broadcast_shapes(before, target)
    except ValueError as error:
        raise op.refusal(f"broadcasts {list(before)} to {list(target)}") from error
    op.bounded(after)
    if len(after) != len(before) or after[0] != before[0]:
        raise op.refusal(f"broadcasts {list(before)} to {list(after)}, which repeats the pictures of a batch")
    return Function(
        _expand, rest=tuple(-1 if size == old else size for size, old in zip(after, before, strict=True))[1:]
    )


def reshape(op: Op) -> nn.Module:
    target = op.integers(1, "shape")
    if target is None:
        raise op.refusal("states no shape")
    before = op.data.shape
    if not op.attributes.get("allowzero", 0):
        target = tuple(before[axis] if size == 0 else size for axis, size in enumerate(target))
    probe = np.broadcast_to(np.zeros(()), before)
    try:
        after = probe.reshape(target).shape
    except ValueError as error:
        raise op.refusal(f"reshapes {list(before)} to {list(target)}") from error
    if not after or after[0] != before[0]:
        raise op.refusal(f"reshapes {list(before)} to {list(after)}, which mixes the pictures of a batch")
    return Reshape(after[1:], whole_channels=before[1:2] == after[1:2] != ())


def flatten(op: Op) -> nn.Module:
    if int(op.attributes.get("axis", 1)) % len(op.data.shape) != 1:
        raise op.refusal("flattens the pictures of a batch together")
    return nn.Flatten()


def transpose(op: Op) -> nn.Module:
    return Function(torch.permute, dims=_order(op))


def _order(op: Op) -> tuple[int, ...]:
    rank = len(op.data.shape)
    return tuple(axis % rank for axis in op.attributes.get("perm", range(rank)[::-1]))


def batch_after(op: Op, rank: int, pointwise: bool) -> int | None:
    """The batch axis of the results of an operation on tensors of `rank` axes with the batch at `op.batch`; None if
    unknown. Attention that computes queries, keys and values together temporarily moves the batch behind them, and so
    does a sum of maps that are stacked first."""
    batch = op.batch
    if op.kind == "Transpose":
        return _order(op).index(batch)
    if op.kind == "Unsqueeze":
        new = _added(op)
        return [axis for axis in range(rank + len(new)) if axis not in new][batch]
    if batch == 0:
        return 0
    if op.kind in ("Gather", "Split"):
        axis = int(op.attributes.get("axis", 0)) % rank
        added = len(op.operand(1).shape) - 1 if op.kind == "Gather" else 0
        return None if axis == batch else batch + (added if axis < batch else 0)
    if op.kind == "Concat":
        return None if int(op.attributes["axis"]) % rank == batch or constants_of(op) else batch
    if op.kind == "Squeeze":
        axes = _squeezed(op)
        return None if batch in axes else batch - sum(axis < batch for axis in axes)
    if op.kind.startswith("Reduce"):
        axes = tuple(axis % rank for axis in op.integers(1, "axes") or (batch,))
        gone = 0 if op.attributes.get("keepdims", 1) else sum(axis < batch for axis in axes)
        return None if batch in axes else batch - gone
    fits = all(len(operand.shape) <= rank for operand in op.operands if operand is not None)
    return batch if pointwise and fits else None


def squeeze(op: Op) -> nn.Module:
    return Function(torch.squeeze, dim=tuple(axis for axis in _squeezed(op) if axis != op.batch))


def squeezes_batch(op: Op) -> bool:
    """Whether the graph squeezes the batch of one that it was exported with, which is kept here."""
    return op.batch in _squeezed(op)


def _squeezed(op: Op) -> tuple[int, ...]:
    shape, axes = op.data.shape, op.integers(1, "axes")
    if axes is None:
        axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return tuple(axis % len(shape) for axis in axes)


def unsqueeze(op: Op) -> nn.Module:
    return Function(_unsqueeze, axes=_added(op))


def _added(op: Op) -> tuple[int, ...]:
    """The axes of the result that an Unsqueeze adds."""
    axes = op.integers(1, "axes") or ()
    rank = len(op.data.shape) + len(axes)
    return tuple(sorted(axis % rank for axis in axes))


def slice_(op: Op) -> nn.Module:
    shape = op.data.shape
    starts, ends = op.integers(1, "starts"), op.integers(2, "ends")
    if starts is None or ends is None:
        raise op.refusal("states no starts or ends")
    axes = op.integers(3, "axes") or tuple(range(len(starts)))
    steps = op.integers(4, "steps") or (1,) * len(starts)
    slices, backwards = [slice(None)] * len(shape), []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0:
            raise op.refusal("slices in steps of 0")
        axis %= len(shape)
        if axis == 0 and (start, step) == (0, 1) and end >= 1:  # the whole batch, whatever its size at export
            continue
        if axis == 0:
            raise op.refusal("slices the batch")
        taken = range(shape[axis])[start:end:step]
        if step < 0:  # torch slices in ascending order only
            taken = taken[::-1]
            backwards.append(axis)
        slices[axis] = slice(taken.start, taken.stop, taken.step)
    return _Slice(tuple(slices), tuple(backwards))


def gather(op: Op) -> nn.Module:
    indices, axis = op.constant(1), int(op.attributes.get("axis", 0)) % len(op.data.shape)
    if indices is None or axis == op.batch:
        raise op.refusal("picks pictures out of the batch")
    wrapped = np.asarray(indices, dtype=np.int64)
    return _Gather(axis, torch.from_numpy(np.where(wrapped < 0, wrapped + op.data.shape[axis], wrapped)))


def split(op: Op) -> nn.Module:
    axis = int(op.attributes.get("axis", 0)) % len(op.data.shape)
    if axis == op.batch:
        raise op.refusal("splits the batch")
    sizes = op.integers(1, "split")
    if sizes is None:
        each = -(-op.data.shape[axis] // op.outputs)
        sizes = (each,) * (op.outputs - 1) + (op.data.shape[axis] - each * (op.outputs - 1),)
    return Function(torch.split, split_size_or_sections=list(sizes), dim=axis)


def pad(op: Op) -> nn.Module:
    rank = len(op.data.shape)
    amounts = op.integers(1, "pads") or op.attributes.get("paddings", ())
    axes = tuple(axis % rank for axis in (op.integers(3, "axes") or range(rank)))
    if len(amounts) != 2 * len(axes):
        raise op.refusal(f"pads {rank} axes with {list(amounts)}")
    before, after = [0] * rank, [0] * rank
    for position, axis in enumerate(axes):
        before[axis], after[axis] = amounts[position], amounts[position + len(axes)]
    op.bounded(tuple(size + before[axis] + after[axis] for axis, size in enumerate(op.data.shape)))
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(
        op.attributes.get("mode", "constant")
    )
    if mode is None or before[0] or after[0] or (mode != "constant" and any(before[:-2] + after[:-2])):
        raise op.refusal(f"pads in the mode {op.attributes.get('mode')} or along the batch")
    last = rank if mode == "constant" else 2
    amounts = tuple(amount for axis in range(1, last + 1) for amount in (before[-axis], after[-axis]))
    if mode != "constant":
        return Function(F.pad, pad=amounts, mode=mode)
    stated = op.constant(2)
    value = float(op.attributes.get("value", 0.0) if stated is None or not stated.size else stated.reshape(-1)[0])
    return Function(F.pad, pad=amounts, value=value)


def depth_to_space(op: Op) -> nn.Module:
    block = int(op.attributes["blocksize"])
    if op.attributes.get("mode", "DCR") == "CRD":
        return nn.PixelShuffle(block)
    return Function(_depth_first, block=block)


def space_to_depth(op: Op) -> nn.Module:
    return Function(_blocks_first, block=int(op.attributes["blocksize"]))


def tile(op: Op) -> nn.Module:
    repeats = op.integers(1, "repeats") or ()
    if len(repeats) != len(op.data.shape) or repeats[0] != 1:
        raise op.refusal(f"repeats {list(op.data.shape)} by {list(repeats)}, and so the pictures of a batch")
    op.bounded(tuple(size * times for size, times in zip(op.data.shape, repeats, strict=True)))
    return Function(_tile, repeats=repeats)


def _tile(x: Tensor, repeats: tuple[int, ...]) -> Tensor:
    return x.repeat(repeats)


def _blocks_first(x: Tensor, block: int) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // block, block, width // block, block)
    return x.permute(0, 3, 5, 1, 2, 4).reshape(batch, channels * block**2, height // block, width // block)


def _expand(x: Tensor, rest: tuple[int, ...]) -> Tensor:  # -1 keeps an axis, as a cut network has fewer channels
    return x.expand(x.shape[0], *rest)


def _unsqueeze(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    for axis in axes:
        x = x.unsqueeze(axis)
    return x


def _depth_first(x: Tensor, block: int) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.reshape(batch, block, block, channels // block**2, height, width)
    return x.permute(0, 3, 4, 1, 5, 2).reshape(batch, channels // block**2, height * block, width * block)
