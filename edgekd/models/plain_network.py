"""Removes what training wraps around a network: torch.compile, SyncBatchNorm and reparametrised weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

__all__ = ["NOT_SCRIPTED", "plain_network", "scripted_part"]

NOT_SCRIPTED = "Build it from its Python class, or export it to ONNX and pass that"
"""The fix for a TorchScript program, which can be run but not inspected, cut or exported."""


def plain_network(layer: nn.Module) -> nn.Module:
    """The same network, modified in place, with its weights as plain tensors; evaluation gives the same result.

    Unwraps torch.compile, turns SyncBatchNorm into BatchNorm2d, and stores the weights that weight_norm and
    spectral_norm compute. TorchScript stays as it is, as none of it can be replaced.
    """
    if isinstance(layer, torch.jit.ScriptModule):
        return layer
    compiled = getattr(layer, "_orig_mod", None)
    if isinstance(compiled, nn.Module):
        return plain_network(compiled)
    if isinstance(layer, nn.SyncBatchNorm):
        plain = nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        plain.load_state_dict(layer.state_dict())
        return plain.train(layer.training)
    for name, child in layer.named_children():
        replacement = plain_network(child)
        if replacement is not child:
            setattr(layer, name, replacement)
    _store_weights(layer)
    return layer


def scripted_part(module: nn.Module) -> str | None:
    """A phrase that says which layer of the network is TorchScript; None if there is none."""
    for name, layer in module.named_modules():
        if isinstance(layer, torch.jit.ScriptModule):
            return f"its layer {name} is a TorchScript program" if name else "it is a TorchScript program"
    return None


def _store_weights(layer: nn.Module) -> None:
    if parametrize.is_parametrized(layer):
        for name in list(layer.parametrizations):  # type: ignore[arg-type]
            parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
    for hook in list(layer._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(layer, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(layer, hook.name)
