"""Whether a file is a model at all, and whether a teacher can serve."""

from __future__ import annotations

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
"""The one way of torch's to write a network whose BatchNorm layers store statistics and are not folded."""

NO_SPREAD = 1e-8
"""A stored variance up to which a channel never changed, and tells nothing."""

_SAY = "Metres are expected: say so behind its name, @inverse or @relative, or give a factory that makes metres of it"
_OTHER_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d)


def refuse_other_files(path: Path) -> None:
    """Raises FileError when `path` is missing, empty, a git-lfs pointer or an HTML page instead of a model."""
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
        raise FileError(f"{path} is a web page, not a model", fix="Download the file itself, not the page about it")


def varies(variance: Tensor) -> bool:
    """Whether any channel of these variances ever changed."""
    return bool((variance > NO_SPREAD).any())


def batch_norm_layers(module: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """The BatchNorm layers that hold statistics, by name, in the order of the module's definition."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None
    }


def is_plain(layer: nn.Module) -> bool:
    """Whether a layer is BatchNorm alone: a class of its own may do more, such as an activation (timm's do)."""
    return type(layer).forward is nn.BatchNorm2d.forward


def stores_statistics(module: nn.Module) -> bool:
    """Whether any BatchNorm layer holds statistics of pictures: not those of an untrained layer, nor no variance."""
    return not all(_untouched(layer) for layer in batch_norm_layers(module).values())


def require_batch_norm(teacher: Teacher) -> dict[str, nn.BatchNorm2d]:
    """The teacher's BatchNorm layers. Raises ModelError when there are none, or when they were never trained."""
    layers = batch_norm_layers(teacher.module)
    if not layers:
        other = (
            "distil a student that is not cut out of it (--student mobile-m) with mixing alone (--no-transformation) "
            "or with a file of edgekd statistics (--statistics)"
        )
        fix = f"{other}, or quantise the teacher itself with edgekd calibrate"
        if scripted_part(teacher.module):
            fix = f"{NOT_SCRIPTED}, or {other}"
        elif _folded(teacher.module):
            fix = f"Export it again with {EXPORT_KEEPING_NORMS}, {fix}"
        raise ModelError(
            f"The teacher {teacher.name} stores no statistics: {_why_no_batch_norm(teacher.module)}",
            fix=f"{fix[0].upper()}{fix[1:]}",
        )
    if not stores_statistics(teacher.module):
        raise ModelError(
            f"All {len(layers)} BatchNorm layers of the teacher {teacher.name} hold no statistics (mean 0, variance 1,"
            " or no variance at all)",
            fix="Load trained weights, or distil with --no-transformation",
        )
    return layers


def require_finite_weights(name: str, network: nn.Module) -> None:
    """Raise ModelError naming the first weights that are not."""
    for key, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"The weights {key} of {name} hold NaN or infinity", fix="Save or copy the model again")


@torch.no_grad()
def check_teacher(teacher: Teacher) -> tuple[str, ...]:
    """Run the teacher on two pictures and look at its weights; returns remarks that do not stop it from serving.

    Raises ModelError when weights or depth are not finite, when it does not take RGB at its stated resolution, when it
    gives something other than one depth map a picture, or when its depth does not depend on the picture.
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
            f"The teacher {name} does not take pictures of [N, 3, {height}, {width}] ({first_line(error)[:200]})",
            fix="Wrap it in a module whose forward takes pictures alone and gives it the rest"
            if more
            else "Check its input: three channels, and the resolution it was made for",
        ) from error
    if not isinstance(depth, Tensor) or depth.shape != (len(pictures), 1, height, width):
        got = list(depth.shape) if isinstance(depth, Tensor) else type(depth).__name__
        raise ModelError(
            f"The teacher {name} gives {got} where depth of [{len(pictures)}, 1, {height}, {width}] is needed",
            fix="Use a model with one depth map as its output",
        )
    if not torch.isfinite(depth).all():
        raise ModelError(f"The teacher {name} gives NaN or infinite depth", fix="Save or copy the model again")
    if float(depth.max() - depth.min()) <= 1e-6 * float(depth.abs().max()) or torch.equal(depth[0], depth[1]):
        raise ModelError(f"The depth that {name} gives does not depend on the picture", fix="Load trained weights")
    if bool((depth.amax((1, 2, 3)) - depth.amin((1, 2, 3)) <= 1e-6 * depth.abs().amax((1, 2, 3))).all()):
        raise ModelError(f"{name} gives one depth for all of a picture", fix="Use a model of depth at every pixel")
    negative = float((depth < 0).float().mean())
    if negative > 0.5:
        raise ModelError(
            f"The teacher {name} gives negative depth on {negative:.0%} of the pixels",
            fix="Use a model that gives metres, not log depth or inverse depth",
        )
    remarks = _remarks(teacher, depth, negative)
    apart = float((network(pictures) - depth).abs().mean() / depth.abs().mean())
    if apart > 1e-4:
        remarks.append(
            f"{name} gives other depth each time for the same picture, by {apart:.1%} on the mean: perhaps it drops "
            "out where it should not, and needs F.dropout(x, p, training=self.training)"
        )
    return tuple(remarks)


def _remarks(teacher: Teacher, depth: Tensor, negative: float) -> list[str]:
    remarks = []
    if not batch_norm_layers(teacher.module):
        remarks.append(f"{teacher.name} stores no statistics: {_why_no_batch_norm(teacher.module)}")
    elif stores_statistics(teacher.module) and (mostly := _mostly_otherwise(teacher.module)):
        remarks.append(
            f"{teacher.name} normalises mostly with {mostly}, which keeps no statistics, and few of its layers with "
            "BatchNorm: what those stored is what pictures are adapted to, unless a file of edgekd statistics is given"
        )
    if negative:
        remarks.append(f"{teacher.name} gave negative depth on {negative:.1%} of the pixels of two test pictures")
    middle = float(depth.median())
    if not teacher.metric:
        return remarks
    if not 0.1 <= middle <= 100:
        unit = "millimetres or inverse depth" if middle > 100 else "inverse depth or another unit"
        remarks.append(f"{teacher.name} gave a median depth of {middle:.3g}: perhaps {unit}. {_SAY}")
    elif not negative and float(depth.max()) <= 1:
        remarks.append(
            f"{teacher.name} gave depth between {float(depth.min()):.3g} and {float(depth.max()):.3g}: perhaps "
            f"a sigmoid's disparity or a share of the range. {_SAY}"
        )
    return remarks


def _mostly_otherwise(module: nn.Module) -> str:
    """What else a network normalises with, where it does so more often than with BatchNorm."""
    others = _other_norms(module)
    return " and ".join(sorted(set(others))) if len(others) > len(batch_norm_layers(module)) else ""


def _other_norms(module: nn.Module) -> list[str]:
    """The class of each layer that normalises in another way than BatchNorm."""
    found = [type(layer).__name__ for layer in module.modules() if isinstance(layer, _OTHER_NORMS)]
    return ["GroupNorm" if name == "InstanceNorm1d" else name for name in found]  # ONNX before opset 18 has none


def _why_no_batch_norm(module: nn.Module) -> str:
    if scripted := scripted_part(module):
        return f"{scripted}, whose layers cannot be looked into"
    if others := _other_norms(module):
        return f"it normalises with {' and '.join(sorted(set(others)))}, which keeps none"
    if any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules()):
        return "its BatchNorm layers were made without running statistics"
    if _folded(module):
        return "its convolutions have biases and no BatchNorm follows: they were folded when it was exported"
    return "it has no BatchNorm layer"


def _folded(module: nn.Module) -> bool:
    """Whether it looks like a network whose BatchNorm layers went into the biases of its convolutions."""
    layers = list(module.modules())
    if any(isinstance(layer, (*_OTHER_NORMS, nn.BatchNorm2d)) for layer in layers):
        return False
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    return sum(layer.bias is not None for layer in convolutions) > len(convolutions) / 2


def _untouched(layer: nn.BatchNorm2d) -> bool:
    assert layer.running_mean is not None and layer.running_var is not None
    fresh = bool((layer.running_mean == 0).all() and (layer.running_var == 1).all())
    return fresh or not varies(layer.running_var)
