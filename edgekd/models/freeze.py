"""Turns a loaded network into a teacher."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import torch
from torch import Tensor, nn

from calibration.progress import Progress, Quiet
from edgekd.models.adapted import DepthAtInputSize, OnContiguous, OnCopies
from edgekd.models.depth_output import DepthOutput, find_depth
from edgekd.models.plain_network import plain_network
from edgekd.models.teacher import Teacher

__all__ = ["freeze"]

_QUIET = Quiet()


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
            found = find_depth(module(pictures), spec)
        except Exception:
            found = DepthOutput()  # check_teacher reports what is wrong
    if pictures._version:  # counts in-place changes
        module = OnCopies(module).eval()
    if _wants_contiguous(module, pictures):
        module = OnContiguous(module).eval()
        progress.note(f"{name} calls .view on its maps (.reshape would take any memory layout): it is computed slower")
    wanted = (1, 1, spec.height, spec.width)
    if found.is_map and (found.place or found.shape != wanted or found.dtype != torch.float32):
        module = DepthAtInputSize(module, found.place).eval()
        if found.others:
            taken = f"{found.written} is taken as its depth; if that is wrong, return the depth alone"
            progress.note(f"{name} outputs {found.others + 1} tensors: {taken}")
        if found.shape != wanted:
            progress.note(f"{name} outputs depth {list(found.shape)}: it is converted to {list(wanted)}")
        if found.dtype != torch.float32:
            progress.note(f"{name} outputs {_named(found.dtype)} depth: it is converted to float32")
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


def _to_float32(name: str, module: nn.Module, progress: Progress) -> None:
    """Convert half and double weights and constants to float32, the type of pictures, with a note if there are any."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    kinds = {tensor.dtype for tensor in tensors if tensor.is_floating_point()} - {torch.float32}
    if kinds:
        module.float()
        progress.note(f"{name} has {' and '.join(sorted(map(_named, kinds)))} weights: it is computed in float32")


def _named(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")
