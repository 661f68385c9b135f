"""Turns a loaded network into a teacher."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calibration.errors import FileError, ModelError
from calibration.files import read_json
from edgekd.models.plain_network import plain_network
from edgekd.models.teacher import Teacher
from targets.input import Framing, InputSpec

__all__ = ["INPUT_EXAMPLE", "DepthAtInputSize", "OnCopies", "freeze", "stated_input"]

INPUT_EXAMPLE = json.dumps(
    {
        "framing": {"height": 224, "width": 224, "resize_height": None, "crop": None},
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
)
"""An example of the <file>.input.json beside a model."""


class DepthAtInputSize(nn.Module):
    """Wraps a network that outputs [N, H, W], smaller maps, a precision other than float32, or a map in a container.

    Unpacks and converts the map, adds the channel and enlarges bilinearly.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        depth: Tensor = _only(self.network(x))
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


def freeze(
    name: str,
    module: nn.Module,
    input: InputSpec,  # noqa: A002 - the field's own name
    *,
    digest: str,
    source: str,
    metric: bool = True,
) -> tuple[Teacher, tuple[str, ...]]:
    """Make a Teacher of the module, in eval mode and float32, with frozen parameters; returns it and remarks."""
    module.eval()  # the result is not used: a user-defined train() may return nothing
    module = plain_network(module).cpu()  # checks run on the CPU, wherever its factory put it
    for parameter in module.parameters():  # not through the module, which may be TorchScript
        parameter.requires_grad_(False)
    remarks = _in_float32(name, module)
    pictures = torch.zeros(2, 3, input.height, input.width)  # two, as it may drop a batch of one
    with torch.no_grad():
        try:
            given = module(pictures)
            depth = _only(given)
            shape, kind = (1, *depth.shape[1:]), depth.dtype
        except Exception:
            given, depth, shape, kind = None, None, (), torch.float32  # check_teacher reports what is wrong
    if pictures._version:  # counts in-place changes
        module = OnCopies(module).eval()
    wanted = (1, 1, input.height, input.width)
    if (given is not depth or shape != wanted or kind != torch.float32) and _is_one_map(shape, input):
        module = DepthAtInputSize(module).eval()
        if shape != wanted:
            remarks += (f"{name} outputs depth {list(shape)}: it is converted to {list(wanted)}",)
        if kind != torch.float32:
            remarks += (f"{name} outputs {_named(kind)} depth: it is converted to float32",)
    return Teacher(name, module, input, digest, source, metric), remarks


def _only(output: Any) -> Any:
    """The content of a container with one item, and anything else unchanged."""
    if isinstance(output, (tuple, list, Mapping)) and len(output) == 1:
        return _only(next(iter(output.values() if isinstance(output, Mapping) else output)))
    return output


def _in_float32(name: str, module: nn.Module) -> tuple[str, ...]:
    """Convert half and double weights and constants to float32, the type of pictures; returns a remark if it did."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    kinds = {tensor.dtype for tensor in tensors if tensor.is_floating_point()} - {torch.float32}
    if not kinds:
        return ()
    module.float()
    names = " and ".join(sorted(map(_named, kinds)))
    return (f"{name} has {names} weights: it is computed in float32",)


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


def _is_one_map(shape: tuple[int, ...], input: InputSpec) -> bool:  # noqa: A002
    """Whether an output is one depth map of about the input's aspect, from an eighth of its height to all of it."""
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[1] != 1):
        return False
    height, width = shape[-2:]
    same_aspect = abs(height / width - input.height / input.width) < 0.1 * input.height / input.width
    return same_aspect and input.height / 8 <= height <= input.height
