"""What every loaded network goes through before it is a teacher."""

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
"""What a <file>.input.json beside a model looks like."""


class DepthAtInputSize(nn.Module):
    """Wraps a network that gives [N, H, W], smaller maps, another precision than float32, or one map in a container.

    Adds the channel, enlarges bilinearly.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        depth: Tensor = _only(self.network(x))
        if depth.dtype != x.dtype:
            depth = depth.to(x.dtype)
        if depth.ndim != 4:  # the channel was left out; with a squeeze(), the batch of one picture too
            depth = depth.reshape(x.shape[0], 1, *depth.shape[-2:])
        if depth.shape[-2:] != x.shape[-2:]:
            depth = F.interpolate(depth, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return depth


class OnCopies(nn.Module):
    """Wraps a network that changes the pictures it is given, as one does that normalises them in place."""

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
    """The module as a Teacher: eval mode, float32, no gradients for parameters, depth [N, 1, H, W]; and remarks."""
    module.eval()  # what it returns is not used: a train() of the user's own may return nothing
    module = plain_network(module).cpu()  # where it is checked, whatever its factory put it on
    for parameter in module.parameters():  # not by the module, which may be TorchScript
        parameter.requires_grad_(False)
    remarks = _in_float32(name, module)
    pictures = torch.zeros(2, 3, input.height, input.width)  # of one picture it may drop the batch
    with torch.no_grad():
        try:
            given = module(pictures)
            depth = _only(given)
            shape, kind = (1, *depth.shape[1:]), depth.dtype
        except Exception:
            given, depth, shape, kind = None, None, (), torch.float32  # check_teacher says what is wrong
    if pictures._version:  # which counts what was written to it
        module = OnCopies(module).eval()
    wanted = (1, 1, input.height, input.width)
    if (given is not depth or shape != wanted or kind != torch.float32) and _is_one_map(shape, input):
        module = DepthAtInputSize(module).eval()
        if shape != wanted:
            remarks += (f"{name} gives depth of {list(shape)}: it is brought to {list(wanted)}",)
        if kind != torch.float32:
            remarks += (f"{name} gives depth in {_named(kind)}: it is brought to float32",)
    return Teacher(name, module, input, digest, source, metric), remarks


def _only(output: Any) -> Any:
    """What a container of one thing holds, and everything else as it is."""
    if isinstance(output, (tuple, list, Mapping)) and len(output) == 1:
        return _only(next(iter(output.values() if isinstance(output, Mapping) else output)))
    return output


def _in_float32(name: str, module: nn.Module) -> tuple[str, ...]:
    """Brings half and double weights, and constants, to float32, which pictures come in; and says so."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    kinds = {tensor.dtype for tensor in tensors if tensor.is_floating_point()} - {torch.float32}
    if not kinds:
        return ()
    module.float()
    names = " and ".join(sorted(map(_named, kinds)))
    return (f"{name} has weights in {names}: it is computed in float32",)


def _named(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def stated_input(path: Path) -> InputSpec | None:
    """The input described in <file>.input.json beside a model, if there is one. Raises FileError or ModelError."""
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
    """Raise ModelError for a field that would be passed over: a slip, or something that was meant to hold, as BGR."""
    for part, kind in ((described, InputSpec), (described["framing"], Framing)):
        known = [field.name for field in fields(kind)]
        for name in part:
            if name not in known:
                raise ModelError(f"An input description knows no {name!r}, only {', '.join(known)}", fix=fix)


def _is_one_map(shape: tuple[int, ...], input: InputSpec) -> bool:  # noqa: A002
    """Whether an output is one depth map of at least an eighth of the input's size and of its aspect."""
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[1] != 1):
        return False
    height, width = shape[-2:]
    same_aspect = abs(height / width - input.height / input.width) < 0.1 * input.height / input.width
    return same_aspect and input.height / 8 <= height <= input.height
