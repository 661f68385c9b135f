"""A network's BatchNorm layers and the statistics that they stored, or why there are none."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from calibration.errors import ModelError
from edgekd.models.plain_network import NOT_SCRIPTED, scripted_part
from edgekd.models.teacher import Teacher

__all__ = [
    "EXPORT_KEEPING_NORMS",
    "NO_SPREAD",
    "batch_norm_layers",
    "is_plain",
    "mostly_otherwise",
    "normalises_alone",
    "require_batch_norm",
    "stored_by",
    "stores_statistics",
    "varies",
    "why_no_batch_norm",
]

EXPORT_KEEPING_NORMS = "torch.onnx.export(model.eval(), ..., dynamo=False, training=torch.onnx.TrainingMode.PRESERVE)"
"""The only way in torch to export a network without folding its BatchNorm layers, which keeps their statistics."""

NO_SPREAD = 1e-8
"""Largest stored variance of a channel that counts as constant and says nothing about pictures."""

_OTHER_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d)


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


def stored_by(layer: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Copies of the mean and the variance that one of `batch_norm_layers` stored."""
    assert layer.running_mean is not None and layer.running_var is not None
    return layer.running_mean.detach().clone(), layer.running_var.detach().clone()


def is_plain(layer: nn.Module) -> bool:
    """Whether a layer is BatchNorm alone: a subclass may do more, such as an activation (timm's do)."""
    return type(layer).forward is nn.BatchNorm2d.forward


@torch.no_grad()
def normalises_alone(layer: nn.BatchNorm2d) -> bool:
    """Whether a layer's weights and statistics do what BatchNorm's do. An activation may follow, as in timm's layers.

    Tried with other statistics, and weights that make up for them.
    """
    if is_plain(layer):
        return True
    if layer.running_mean is None or layer.running_var is None or not layer.affine:
        return False
    other = copy.deepcopy(layer).cpu().eval()
    assert other.running_mean is not None and other.running_var is not None
    mean, variance = stored_by(other)
    spread = (variance + other.eps).sqrt()
    x = torch.randn(2, layer.num_features, 4, 4, generator=torch.Generator().manual_seed(0))
    x = x * spread.view(-1, 1, 1) + mean.view(-1, 1, 1)
    try:
        before = other(x)
        other.running_mean.add_(spread)
        other.bias.add_(other.weight)
        other.running_var.copy_(4 * spread.square() - other.eps)
        other.weight.mul_(2)
        return bool(torch.allclose(before, other(x), rtol=1e-3, atol=1e-4 * float(before.abs().max())))
    except Exception:  # a class of its own may do anything
        return False


def stores_statistics(module: nn.Module) -> bool:
    """Whether any BatchNorm layer holds statistics of pictures, not initial values or zero variance."""
    return not all(_untouched(layer) for layer in batch_norm_layers(module).values())


def require_batch_norm(teacher: Teacher) -> dict[str, nn.BatchNorm2d]:
    """The teacher's BatchNorm layers. Raises ModelError when there are none or all lack statistics."""
    layers = batch_norm_layers(teacher.module)
    if not layers:
        other = "distil without them (--no-transformation) or with a file from edgekd statistics (--statistics)"
        fix = f"{other}, or quantise the teacher itself with edgekd calibrate"
        if scripted_part(teacher.module):
            fix = f"{NOT_SCRIPTED}, or {other}"
        elif _folded(teacher.module):
            fix = f"If it was, export it again with {EXPORT_KEEPING_NORMS}; otherwise {fix}"
        raise ModelError(
            f"The teacher {teacher.name} stores no statistics: {why_no_batch_norm(teacher.module)}",
            fix=f"{fix[0].upper()}{fix[1:]}",
        )
    if not stores_statistics(teacher.module):
        raise ModelError(
            f"The BatchNorm layers of the teacher {teacher.name} ({len(layers)}) hold no statistics (mean 0, variance "
            "1, or no variance at all)",
            fix="Load trained weights, or distil with --no-transformation",
        )
    return layers


def why_no_batch_norm(module: nn.Module) -> str:
    """Why `batch_norm_layers` finds none, as the end of a sentence."""
    if scripted := scripted_part(module):
        return f"{scripted}, whose layers cannot be inspected"
    if others := _other_norms(module):
        also = "; BatchNorm beside it was folded on export, if it had any" if _folded(module) else ""
        return f"it normalises with {' and '.join(sorted(set(others)))}, which keeps none{also}"
    if any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules()):
        return "its BatchNorm layers were made without running statistics"
    if _folded(module):
        return "its convolutions have biases and no BatchNorm follows: BatchNorm was folded on export, if it had any"
    return "it has no BatchNorm layer"


def mostly_otherwise(module: nn.Module) -> str:
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


def _folded(module: nn.Module) -> bool:
    """Whether BatchNorm layers may have been folded into the convolutions, most of which have biases.

    Those of a network that never had BatchNorm look alike, so messages must not say that it had.
    """
    layers = list(module.modules())
    if any(isinstance(layer, (nn.LayerNorm, nn.BatchNorm2d)) for layer in layers):
        return False
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    return sum(layer.bias is not None for layer in convolutions) > len(convolutions) / 2


def _untouched(layer: nn.BatchNorm2d) -> bool:
    mean, variance = stored_by(layer)
    fresh = bool((mean == 0).all() and (variance == 1).all())
    return fresh or not varies(variance)
