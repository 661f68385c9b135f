"""Turns a loaded network into a teacher."""

from __future__ import annotations

import copy
import itertools
import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calibration.errors import FileError, ModelError
from calibration.files import read_json
from calibration.progress import Progress, Quiet
from edgekd.models.plain_network import plain_network
from edgekd.models.teacher import Teacher
from targets.input import Framing, InputSpec

__all__ = ["INPUT_EXAMPLE", "DepthAtInputSize", "OnContiguous", "OnCopies", "freeze", "stated_input"]

INPUT_EXAMPLE = json.dumps(
    {
        "framing": {"height": 224, "width": 224, "resize_height": None, "crop": None},
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
)
"""An example of the <file>.input.json beside a model."""

_QUIET = Quiet()


class DepthAtInputSize(nn.Module):
    """Wraps a network that outputs [N, H, W], smaller maps, a precision other than float32, or maps in a container.

    Takes the map at `place`, the keys and indices that lead to it, converts it, adds the channel and enlarges
    bilinearly.
    """

    def __init__(self, network: nn.Module, place: Sequence[Any] = ()) -> None:
        super().__init__()
        self.network, self.place = network, tuple(place)

    def forward(self, x: Tensor) -> Tensor:
        depth: Tensor = reduce(operator.getitem, self.place, self.network(x))
        if depth.dtype != x.dtype:
            depth = depth.to(x.dtype)
        if depth.ndim != 4:  # no channel; a squeeze() also drops the batch of a single picture
            depth = depth.reshape(x.shape[0], 1, *depth.shape[-2:])
        if depth.shape[-2:] != x.shape[-2:]:
            depth = F.interpolate(depth, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return depth


class OnCopies(nn.Module):
    """Wraps a network that modifies the pictures it is given, for example by normalising them in place."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        return self.network(x.clone())


class OnContiguous(nn.Module):
    """Wraps a network that takes no other memory layout than the usual one, for example because it calls .view."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        return self.network(x.contiguous())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> OnContiguous:
        """What `to` calls: a convolution's result has the layout of its weights."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for parameter in self.parameters():  # copied, as .contiguous() keeps the strides of a 1x1 kernel
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
        return self


def freeze(loaded: Teacher, progress: Progress = _QUIET) -> Teacher:
    """The teacher with its network in eval mode and float32, and frozen parameters. Notes say what was converted."""
    name, module, spec = loaded.name, loaded.module, loaded.input
    module.eval()  # the result is not used: a user-defined train() may return nothing
    module = plain_network(module).cpu()  # checks run on the CPU, wherever its factory put it
    for parameter in module.parameters():  # not through the module, which may be TorchScript
        parameter.requires_grad_(False)
    _to_float32(name, module, progress)
    pictures = torch.zeros(2, 3, spec.height, spec.width)  # two, as it may drop a batch of one
    with torch.no_grad():
        try:
            place, depth, others = _depth_in(module(pictures), spec)
            shape, kind = (1, *depth.shape[1:]), depth.dtype
        except Exception:
            place, others, shape, kind = (), 0, (), torch.float32  # check_teacher reports what is wrong
    if pictures._version:  # counts in-place changes
        module = OnCopies(module).eval()
    if _wants_contiguous(module, pictures):
        module = OnContiguous(module).eval()
        progress.note(f"{name} calls .view on its maps (.reshape would take any memory layout): it is computed slower")
    wanted = (1, 1, spec.height, spec.width)
    if (place or shape != wanted or kind != torch.float32) and _is_one_map(shape, spec):
        module = DepthAtInputSize(module, place).eval()
        if others:
            taken = f"{_written(place)} is taken as its depth; if that is wrong, return the depth alone"
            progress.note(f"{name} outputs {others + 1} tensors: {taken}")
        if shape != wanted:
            progress.note(f"{name} outputs depth {list(shape)}: it is converted to {list(wanted)}")
        if kind != torch.float32:
            progress.note(f"{name} outputs {_named(kind)} depth: it is converted to float32")
    return replace(loaded, module=module)


@torch.no_grad()
def _wants_contiguous(network: nn.Module, pictures: Tensor) -> bool:
    """Whether a network fails in the memory layout in which it would be computed fastest."""
    try:
        apart = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        apart(pictures.contiguous(memory_format=torch.channels_last))
    except Exception as error:  # whatever else is wrong is reported by check_teacher
        return "view size is not compatible" in str(error)
    return False


def _depth_in(output: Any, spec: InputSpec) -> tuple[tuple[Any, ...], Any, int]:
    """The largest depth map of what a network outputs, the first of several, as for an ONNX file: where it lies, the
    map, and the number of other tensors. Without one, the first tensor."""
    found = list(_tensors(output))
    maps = [item for item in found if _is_one_map((1, *item[1].shape[1:]), spec)]
    place, depth = max(maps or found[:1], key=lambda item: item[1].shape[-1])
    return place, depth, len(found) - 1


def _tensors(output: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Tensor]]:
    """The tensors in tuples, lists and mappings, each with the keys and indices that lead to it."""
    if isinstance(output, Tensor):
        yield place, output
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from _tensors(value, (*place, key))
    elif isinstance(output, (tuple, list)):
        for number, value in enumerate(output):
            yield from _tensors(value, (*place, number))


def _written(place: tuple[Any, ...]) -> str:
    return "output" + "".join(f"[{key!r}]" for key in place)


def _to_float32(name: str, module: nn.Module, progress: Progress) -> None:
    """Convert half and double weights and constants to float32, the type of pictures, with a note if there are any."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    kinds = {tensor.dtype for tensor in tensors if tensor.is_floating_point()} - {torch.float32}
    if kinds:
        module.float()
        progress.note(f"{name} has {' and '.join(sorted(map(_named, kinds)))} weights: it is computed in float32")


def _named(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def stated_input(path: Path) -> InputSpec | None:
    """The input described by <file>.input.json beside a model, if that exists. Raises FileError or ModelError."""
    beside = path.with_name(f"{path.name}.input.json")
    if not beside.exists():
        return None
    example = f"Write it like {INPUT_EXAMPLE}"
    try:
        described = read_json(beside)
        spec = InputSpec.from_json(described, fix=example)
        _require_known(described, example)
        return spec
    except FileError as error:
        fix = error.fix if isinstance(error.__cause__, OSError) else example
        raise FileError(error.message, fix=fix) from error
    except ModelError as error:
        raise ModelError(f"{beside}: {error.message}", fix=error.fix) from error


def _require_known(described: dict[str, Any], fix: str) -> None:
    """Raise ModelError for an unknown field, such as a typo or a "BGR", instead of ignoring it."""
    for part, kind in ((described, InputSpec), (described["framing"], Framing)):
        known = [field.name for field in fields(kind)]
        for name in part:
            if name not in known:
                raise ModelError(f"An input description has no field {name!r}, only {', '.join(known)}", fix=fix)


def _is_one_map(shape: tuple[int, ...], spec: InputSpec) -> bool:
    """Whether an output is one depth map of about the input's aspect, from an eighth of its height to all of it."""
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[1] != 1):
        return False
    height, width = shape[-2:]
    same_aspect = abs(height / width - spec.height / spec.width) < 0.1 * spec.height / spec.width
    return same_aspect and spec.height / 8 <= height <= spec.height
