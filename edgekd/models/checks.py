"""Checks that a file is a model at all, and that a teacher is usable."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from calibration.errors import FileError, ModelError
from calibration.reasons import first_line, out_of_memory
from edgekd.models.pictures import NormalisePictures, probe_pictures
from edgekd.models.plain_network import NOT_SCRIPTED, scripted_part
from edgekd.models.teacher import Teacher

__all__ = [
    "EXPORT_KEEPING_NORMS",
    "NO_SPREAD",
    "batch_norm_layers",
    "check_teacher",
    "is_plain",
    "refuse_other_files",
    "require_batch_norm",
    "require_finite_weights",
    "stores_statistics",
    "varies",
]

EXPORT_KEEPING_NORMS = "torch.onnx.export(model.eval(), ..., dynamo=False, training=torch.onnx.TrainingMode.PRESERVE)"
"""The only way in torch to export a network without folding its BatchNorm layers, which keeps their statistics."""

NO_SPREAD = 1e-8
"""Largest stored variance of a channel that counts as constant and says nothing about pictures."""

_SAY = "Metres are expected: append @inverse or @relative to its name, or pass a factory that converts it to metres"
_OTHER_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d)


def refuse_other_files(path: Path) -> None:
    """Raise FileError when `path` is missing, empty, a git-lfs pointer or a web page instead of a model."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise FileError(f"Cannot read {path}: {error.strerror}", fix="Check the path and its permissions") from error
    if not head:
        raise FileError(f"{path} is empty", fix="Copy or download the file again")
    if head.startswith(b"version https://git-lfs"):
        raise FileError(f"{path} is a git-lfs pointer, not the model", fix="Run git lfs pull in its repository")
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise FileError(f"{path} is a web page, not a model", fix="Download the file itself, not its web page")


def varies(variance: Tensor) -> bool:
    """Whether any channel with these variances ever changed."""
    return bool((variance > NO_SPREAD).any())


def batch_norm_layers(module: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """The BatchNorm layers that hold statistics, by name, in the order of the module's definition."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None
    }


def is_plain(layer: nn.Module) -> bool:
    """Whether a layer is BatchNorm alone: a subclass may do more, such as an activation (timm's do)."""
    return type(layer).forward is nn.BatchNorm2d.forward


def stores_statistics(module: nn.Module) -> bool:
    """Whether any BatchNorm layer holds statistics of pictures, not initial values or zero variance."""
    return not all(_untouched(layer) for layer in batch_norm_layers(module).values())


def require_batch_norm(teacher: Teacher) -> dict[str, nn.BatchNorm2d]:
    """The teacher's BatchNorm layers. Raises ModelError when there are none or all lack statistics."""
    layers = batch_norm_layers(teacher.module)
    if not layers:
        other = (
            "distil a student that is not cut from it (--student mobile-m) with mixing only (--no-transformation) "
            "or with a file from edgekd statistics (--statistics)"
        )
        fix = f"{other}, or quantise the teacher itself with edgekd calibrate"
        if scripted_part(teacher.module):
            fix = f"{NOT_SCRIPTED}, or {other}"
        elif _folded(teacher.module):
            fix = f"If it was, export it again with {EXPORT_KEEPING_NORMS}; otherwise {fix}"
        raise ModelError(
            f"The teacher {teacher.name} stores no statistics: {_why_no_batch_norm(teacher.module)}",
            fix=f"{fix[0].upper()}{fix[1:]}",
        )
    if not stores_statistics(teacher.module):
        raise ModelError(
            f"The BatchNorm layers of the teacher {teacher.name} ({len(layers)}) hold no statistics (mean 0, variance "
            "1, or no variance at all)",
            fix="Load trained weights, or distil with --no-transformation",
        )
    return layers


def require_finite_weights(name: str, network: nn.Module) -> None:
    """Raise ModelError naming the first weights that are not finite."""
    for key, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"The weights {key} of {name} hold NaN or infinity", fix="Save or copy the model again")


@torch.no_grad()
def check_teacher(teacher: Teacher) -> tuple[str, ...]:
    """Run the teacher on two pictures and check its weights; returns remarks that do not prevent its use.

    Raises ModelError when weights or depth are not finite, when it does not accept RGB at its stated resolution, when
    its output is not one depth map per picture, when its depth is mostly negative, when its depth does not depend on
    the picture, or when a copy of it computes another depth.
    """
    name, network = teacher.name, teacher.module
    require_finite_weights(name, network)
    height, width = teacher.input.height, teacher.input.width
    pictures = NormalisePictures(teacher.input)(torch.from_numpy(probe_pictures(height, width, 2)))
    try:
        depth = network(pictures)
    except Exception as error:
        if out_of_memory(error):
            raise
        more = isinstance(error, TypeError) and "required positional argument" in str(error)
        raise ModelError(
            f"The teacher {name} does not accept pictures [N, 3, {height}, {width}] ({first_line(error)[:200]})",
            fix="Wrap it in a module whose forward takes only pictures and supplies the rest"
            if more
            else "Check its input: three channels, and the resolution it was made for",
        ) from error
    if not isinstance(depth, Tensor) or depth.shape != (len(pictures), 1, height, width):
        got = list(depth.shape) if isinstance(depth, Tensor) else type(depth).__name__
        raise ModelError(
            f"The teacher {name} outputs {got}, but depth [{len(pictures)}, 1, {height}, {width}] is needed",
            fix="Use a model with one depth map as its output",
        )
    if not torch.isfinite(depth).all():
        raise ModelError(f"The teacher {name} outputs NaN or infinite depth", fix="Save or copy the model again")
    if float(depth.max() - depth.min()) <= 1e-6 * float(depth.abs().max()) or torch.equal(depth[0], depth[1]):
        raise ModelError(f"The depth from {name} does not depend on the picture", fix="Load trained weights")
    if bool((depth.amax((1, 2, 3)) - depth.amin((1, 2, 3)) <= 1e-6 * depth.abs().amax((1, 2, 3))).all()):
        raise ModelError(
            f"{name} outputs a single depth for the whole picture", fix="Use a model that predicts depth per pixel"
        )
    negative = float((depth < 0).float().mean())
    if negative > 0.5:
        raise ModelError(
            f"The teacher {name} outputs negative depth for {negative:.0%} of the pixels",
            fix="Use a model that outputs metres, not log depth or inverse depth",
        )
    if not _copies_alike(network, pictures.flip(0)):
        raise ModelError(
            f"A copy of {name} does not compute the same depth: one of its forward hooks writes into the original",
            fix="Keep the features in forward, or let the hook be a method of the network, as in "
            "layer.register_forward_hook(self.keep), not a function made in __init__",
        )
    remarks = _remarks(teacher, depth, negative)
    apart = float((network(pictures) - depth).abs().mean() / depth.abs().mean())
    if apart > 1e-4:
        remarks.append(
            f"{name} is not deterministic: depth of the same picture varies by {apart:.1%} on average. Perhaps dropout "
            "is always on and needs F.dropout(x, p, training=self.training)"
        )
    return tuple(remarks)


def _copies_alike(network: nn.Module, pictures: Tensor) -> bool:
    """Whether a copy of the network, which statistics and students are made with, computes the same on `pictures`.

    Copying a function does not copy what it refers to: through a hook with a closure, the copy's features go to the
    original, and the copy reads those that it was copied with.
    """
    if not any(layer._forward_hooks or layer._forward_pre_hooks for layer in network.modules()):
        return True
    try:
        copied = copy.deepcopy(network)
    except Exception as error:  # left to those who need a copy
        if out_of_memory(error):
            raise
        return True
    found = []
    with torch.random.fork_rng(devices=[]):
        for one in (network, copied):
            torch.manual_seed(0)  # for dropout that is always on
            found.append(one(pictures))
    wanted, given = found
    return wanted.shape == given.shape and bool((wanted - given).abs().max() <= 1e-3 * wanted.abs().max())


def _remarks(teacher: Teacher, depth: Tensor, negative: float) -> list[str]:
    remarks = []
    if not batch_norm_layers(teacher.module):
        remarks.append(f"{teacher.name} stores no statistics: {_why_no_batch_norm(teacher.module)}")
    elif stores_statistics(teacher.module) and (mostly := _mostly_otherwise(teacher.module)):
        remarks.append(
            f"{teacher.name} normalises mostly with {mostly}, which keeps no statistics, and few of its layers with "
            "BatchNorm: pictures are fitted to those few, unless you pass a file from edgekd statistics"
        )
    if negative:
        remarks.append(f"{teacher.name} output negative depth for {negative:.1%} of the pixels of two test pictures")
    middle = float(depth.median())
    if not teacher.metric:
        return remarks
    if not 0.1 <= middle <= 100:
        unit = "millimetres or inverse depth" if middle > 100 else "inverse depth or another unit"
        remarks.append(f"{teacher.name} output a median depth of {middle:.3g}: perhaps {unit}. {_SAY}")
    elif not negative and float(depth.max()) <= 1:
        remarks.append(
            f"{teacher.name} output depth between {float(depth.min()):.3g} and {float(depth.max()):.3g}: perhaps "
            f"a sigmoid's disparity or a fraction of the range. {_SAY}"
        )
    return remarks


def _mostly_otherwise(module: nn.Module) -> str:
    """The other normalisations of a network that uses them more often than BatchNorm; otherwise empty."""
    others = _other_norms(module)
    return " and ".join(sorted(set(others))) if len(others) > len(batch_norm_layers(module)) else ""


def _other_norms(module: nn.Module) -> list[str]:
    """The class names of the layers that normalise, but not with BatchNorm."""
    return [_norm_name(layer) for layer in module.modules() if isinstance(layer, _OTHER_NORMS)]


def _norm_name(layer: nn.Module) -> str:
    """The class name. ONNX before opset 18 has no GroupNorm: torch writes InstanceNorm of the groups, with weights of 1
    and 0, and scales afterwards."""
    if not isinstance(layer, nn.InstanceNorm1d) or layer.weight is None:
        return type(layer).__name__
    return "GroupNorm" if bool((layer.weight == 1).all() and (layer.bias == 0).all()) else "InstanceNorm1d"


def _why_no_batch_norm(module: nn.Module) -> str:
    if scripted := scripted_part(module):
        return f"{scripted}, whose layers cannot be inspected"
    if others := _other_norms(module):
        return f"it normalises with {' and '.join(sorted(set(others)))}, which keeps none"
    if any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules()):
        return "its BatchNorm layers were made without running statistics"
    if _folded(module):
        return "its convolutions have biases and no BatchNorm follows: BatchNorm was folded on export, if it had any"
    return "it has no BatchNorm layer"


def _folded(module: nn.Module) -> bool:
    """Whether BatchNorm layers may have been folded into the convolutions, most of which have biases.

    Those of a network that never had BatchNorm look alike, so messages must not say that it had.
    """
    layers = list(module.modules())
    if any(isinstance(layer, (*_OTHER_NORMS, nn.BatchNorm2d)) for layer in layers):
        return False
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    return sum(layer.bias is not None for layer in convolutions) > len(convolutions) / 2


def _untouched(layer: nn.BatchNorm2d) -> bool:
    assert layer.running_mean is not None and layer.running_var is not None
    fresh = bool((layer.running_mean == 0).all() and (layer.running_var == 1).all())
    return fresh or not varies(layer.running_var)
